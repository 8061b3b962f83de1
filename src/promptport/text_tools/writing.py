"""How each format writes tools, past calls and results into a prompt. Pure.

Rule: tags, layout and sentences are those that the models were trained on, to the letter, wherever their chat templates
have some (they are the source): other words cost a small model half of its calls. What a format writes for a call, its
parser reads back.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from promptport.frames import InvalidToolCall, ToolCall, parse_arguments
from promptport.messages import TextPart, ToolResultMessage
from promptport.tools import ToolDescriptor

__all__ = ["LISTED", "WRITINGS", "Writing"]

AnyCall: TypeAlias = ToolCall | InvalidToolCall


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(text: str, followed: bool) -> str:
    return text


class Writing(NamedTuple):
    """A format, in the direction of the model.

    Attributes:
        describe: tells a model of the tools, and how to call them; for the system message.
        calls: calls that stand side by side, as the model would have written them.
        result: what a tool answered.
        text: the model's own text, and whether a call follows it.
        between: what separates text and calls; a line end only where there is no blank yet.
    """

    describe: Callable[[Sequence[ToolDescriptor]], str]
    calls: Callable[[Sequence[AnyCall]], str]
    result: Callable[[ToolResultMessage], str]
    text: Callable[[str, bool], str] = _plain
    between: str = "\n"

    def assistant(self, parts: Sequence[TextPart | AnyCall]) -> str:
        """A past answer as the model would have written it."""
        written = ""
        index = 0
        while index < len(parts):
            part = parts[index]
            index += 1
            if isinstance(part, TextPart):
                piece = self.text(part.text, index < len(parts))
            else:
                calls: list[AnyCall] = [part]
                while index < len(parts) and not isinstance(following := parts[index], TextPart):
                    calls.append(following)
                    index += 1
                piece = self.calls(calls)
            apart = self.between != "\n" or not (written[-1:].isspace() or piece[:1].isspace())
            written += (self.between if written and apart else "") + piece
        return written


# ---------------------------------------------------------------------------------------------------- shared


def _functions(tools: Sequence[ToolDescriptor]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def _function(tool: ToolDescriptor) -> dict[str, Any]:
    schema = tool.parameters or {"type": "object", "properties": {}}
    return {"name": tool.name, "description": tool.description, "parameters": schema}


def _object(call: AnyCall, key: str = "arguments", more: str = "") -> str:
    # The arguments' own text, so that even what is no JSON goes back as the model wrote it.
    return f'{{"name": {_dumps(call.name)}, "{key}": {call.arguments}{more}}}'


def _answer(result: ToolResultMessage) -> str:
    return _dumps({"name": result.name, "output" if result.error is None else "error": result.text})


def _tool_response(result: ToolResultMessage) -> str:
    return f"<tool_response>\n{result.text}\n</tool_response>"


# ------------------------------------------------------------------------------------------ Hermes, Qwen-coder


def _describe_hermes(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n".join(map(_dumps, _functions(tools)))
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{signatures}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within <tool_call></tool_call>"
        ' XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def _hermes_calls(calls: Sequence[AnyCall]) -> str:
    return "\n".join([f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls])


def _describe_qwen_coder(tools: Sequence[ToolDescriptor]) -> str:
    functions = "\n".join(map(_xml_function, tools))
    return (
        f"# Tools\n\nYou have access to the following functions:\n\n<tools>\n{functions}\n</tools>\n\n"
        "If you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
        "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
        "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
        "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
        "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested"
        " within <tool_call></tool_call> XML tags\n"
        "- Required parameters MUST be specified\n"
        "- You may provide optional reasoning for your function call in natural language BEFORE the function call,"
        " but NOT after\n"
        "- If there is no function call available, answer the question like normal with your current knowledge and do"
        " not tell the user about function calls\n</IMPORTANT>"
    )


def _xml_function(tool: ToolDescriptor) -> str:
    lines = ["<function>", f"<name>{tool.name}</name>", f"<description>{tool.description.strip()}</description>"]
    lines.append("<parameters>")
    for name, schema in tool.parameters.get("properties", {}).items():
        lines += ["<parameter>", f"<name>{name}</name>"]
        first = [key for key in ("type", "description") if key in schema]
        for key in (*first, *[key for key in schema if key not in first]):
            value = schema[key].strip() if key == "description" else schema[key]
            lines.append(f"<{key}>{_xml_value(value)}</{key}>")
        lines.append("</parameter>")
    for key, value in tool.parameters.items():
        if key not in ("type", "properties"):
            lines.append(f"<{key}>{_xml_value(value)}</{key}>")
    return "\n".join([*lines, "</parameters>", "</function>"])


def _xml_value(value: Any) -> str:
    return _dumps(value) if isinstance(value, list | dict) else str(value)


def _qwen_coder_calls(calls: Sequence[AnyCall]) -> str:
    return "\n".join([f"<tool_call>\n<function={call.name}>\n{_xml(call)}</function>\n</tool_call>" for call in calls])


def _xml(call: AnyCall) -> str:
    values = _values(call)
    if values is None:
        return call.arguments
    return "".join([f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items()])


# ---------------------------------------------------------------------------------------------- Llama 3 and 4


def _describe_llama3(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n\n".join([json.dumps(tool, ensure_ascii=False, indent=4) for tool in _functions(tools)])
    return (
        "You can call the functions below. To call one, answer with nothing but JSON in the form"
        ' {"name": function name, "parameters": dictionary of argument name and its value},'
        f" and put a semicolon between several calls. Do not use variables.\n\n{signatures}"
    )


def _llama3_calls(calls: Sequence[AnyCall]) -> str:
    return "; ".join([_object(call, "parameters") for call in calls])


def _describe_pythonic(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n\n".join([json.dumps(tool, ensure_ascii=False, indent=4) for tool in map(_function, tools)])
    return (
        "You can call the functions below. To call one or several, answer with nothing but a Python list of calls in"
        " the form [func_name1(param_name1=param_value1, param_name2=param_value2), func_name2()]."
        f" Name every parameter, and do not use variables.\n\n{signatures}"
    )


def _pythonic_calls(calls: Sequence[AnyCall]) -> str:
    return f"[{', '.join([f'{call.name}({_python_arguments(call)})' for call in calls])}]"


def _python_arguments(call: AnyCall) -> str:
    try:
        arguments = parse_arguments(call.arguments)
    except ValueError:
        return call.arguments
    return ", ".join([f"{key}={_python(value)}" for key, value in arguments.items()])


def _python(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_dumps(key)}: {_python(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    return _dumps(value) if isinstance(value, str) else repr(value)


# ---------------------------------------------------------------------------------------------------- Mistral


def _describe_mistral(tools: Sequence[ToolDescriptor]) -> str:
    return (
        f"[AVAILABLE_TOOLS]{_dumps(_functions(tools))}[/AVAILABLE_TOOLS]\n"
        "To call functions of these, answer with [TOOL_CALLS] and a JSON list of the calls:"
        ' [TOOL_CALLS][{"name": function name, "arguments": {argument name: value}}]'
    )


def _mistral_calls(calls: Sequence[AnyCall]) -> str:
    objects = [_object(call, more=f', "id": {_dumps(call.id)}') for call in calls]
    return f"[TOOL_CALLS][{', '.join(objects)}]"


def _mistral_result(result: ToolResultMessage) -> str:
    return f"[TOOL_RESULTS]{_dumps({'content': result.text, 'call_id': result.call_id})}[/TOOL_RESULTS]"


# --------------------------------------------------------------------------------------------------- harmony


def _describe_harmony(tools: Sequence[ToolDescriptor]) -> str:
    types = "\n\n".join(map(_typescript_function, tools))
    return f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{types}\n\n}} // namespace functions"


def _typescript_function(tool: ToolDescriptor) -> str:
    lines = [f"// {line}" for line in tool.description.splitlines()]
    properties = tool.parameters.get("properties")
    if properties is None:
        return "\n".join([*lines, f"type {tool.name} = () => any;"])
    lines.append(f"type {tool.name} = (_: {{")
    required = tool.parameters.get("required", ())
    for name, schema in properties.items():
        if schema.get("description"):
            lines.append(f"// {schema['description']}")
        default = schema.get("default")
        written = default if isinstance(default, str) else _dumps(default)
        comment = f" // default: {written}" if "default" in schema else ""
        lines.append(f"{name}{'' if name in required else '?'}: {_typescript(schema)},{comment}")
    return "\n".join([*lines, "}) => any;"])


_TYPESCRIPT = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def _typescript(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(schema.get("enum"), list):
        return " | ".join(map(_dumps, schema["enum"]))
    if isinstance(kind, list):
        return " | ".join([_TYPESCRIPT.get(name, "any") for name in kind])
    if kind == "array":
        return f"{_typescript(schema['items'])}[]" if isinstance(schema.get("items"), dict) else "Array<any>"
    if kind == "object" and schema.get("properties"):
        required = schema.get("required", ())
        fields = [
            f"{name}{'' if name in required else '?'}: {_typescript(field)}"
            for name, field in schema["properties"].items()
        ]
        return f"{{ {', '.join(fields)} }}"
    return "object" if kind == "object" else _TYPESCRIPT.get(str(kind), "any")


def _harmony_calls(calls: Sequence[AnyCall]) -> str:
    return "<|start|>assistant".join(
        [
            f" to=functions.{call.name}<|channel|>commentary <|constrain|>json<|message|>{call.arguments}<|call|>"
            for call in calls
        ]
    )


def _harmony_text(text: str, followed: bool) -> str:
    return f"<|channel|>{'commentary' if followed else 'final'}<|message|>{text}<|end|>"


def _harmony_result(result: ToolResultMessage) -> str:
    return f"<|start|>functions.{result.name} to=assistant<|channel|>commentary<|message|>{result.text}<|end|>"


# ---------------------------------------------------------------------------- Kimi, GLM, DeepSeek, MiniMax


def _describe_kimi(tools: Sequence[ToolDescriptor]) -> str:
    """The declaration that its template puts into a message of its own, and the form, which it does not tell."""
    declared = json.dumps(_functions(tools), ensure_ascii=False, separators=(",", ":"))
    return (
        f"# Tools\n\n{declared}\n\nTo call tools, end your answer with a section of calls, each with its id, which is"
        " functions.<name>:<number>, and its arguments as a JSON object:\n<|tool_calls_section_begin|>"
        "<|tool_call_begin|>functions.example:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
    )


_KIMI_ID = re.compile(r"functions\.[\w.-]+:\d+")


def _kimi_id(id: str, name: str) -> str:
    """The id in Kimi's form: its own, or one made of another's, the same for a call and its result."""
    if _KIMI_ID.fullmatch(id):
        return id
    digits = re.search(r"\d{1,9}$", id)
    return f"functions.{name}:{int(digits[0]) if digits else zlib.crc32(id.encode()) % 100_000}"


def _kimi_calls(calls: Sequence[AnyCall]) -> str:
    written = [
        f"<|tool_call_begin|>{_kimi_id(call.id, call.name)}"
        f"<|tool_call_argument_begin|>{call.arguments}<|tool_call_end|>"
        for call in calls
    ]
    return f"<|tool_calls_section_begin|>{''.join(written)}<|tool_calls_section_end|>"


def _kimi_result(result: ToolResultMessage) -> str:
    return f"## Return of {_kimi_id(result.call_id, result.name)}\n{result.text}"


def _describe_glm(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n".join(map(_dumps, _functions(tools)))
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{signatures}\n</tools>\n\n"
        "For each function call, output the function name and arguments within the following XML format:\n"
        "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>\n"
        "<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>"
    )


def _values(call: AnyCall) -> dict[str, str] | None:
    """The arguments as tags hold them: strings as they are, else JSON; ``None`` where they are no JSON object."""
    try:
        arguments = parse_arguments(call.arguments)
    except ValueError:
        return None
    return {key: value if isinstance(value, str) else _dumps(value) for key, value in arguments.items()}


def _glm_calls(calls: Sequence[AnyCall]) -> str:
    return "\n".join([f"<tool_call>{call.name}\n{_glm_arguments(call)}</tool_call>" for call in calls])


def _glm_arguments(call: AnyCall) -> str:
    values = _values(call)
    if values is None:
        return f"{call.arguments}\n"
    return "".join([f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in values.items()])


def _describe_deepseek(tools: Sequence[ToolDescriptor]) -> str:
    """In the words of the model's own page, for its template has none."""
    described = [
        f"### {tool.name}\nDescription: {tool.description}\n\nParameters: {_dumps(_function(tool)['parameters'])}"
        for tool in tools
    ]
    return (
        "## Tools\nYou have access to the following tools:\n\n"
        + "\n\n".join(described)
        + "\n\nIMPORTANT: ALWAYS adhere"
        " to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>"
        "tool_call_arguments<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\nWhere:\n"
        "- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them directly without separators or spaces"
    )


def _deepseek_calls(calls: Sequence[AnyCall]) -> str:
    written = [f"<｜tool▁call▁begin｜>{call.name}<｜tool▁sep｜>{call.arguments}<｜tool▁call▁end｜>" for call in calls]
    return f"<｜tool▁calls▁begin｜>{''.join(written)}<｜tool▁calls▁end｜>"


def _deepseek_result(result: ToolResultMessage) -> str:
    return f"<｜tool▁output▁begin｜>{result.text}<｜tool▁output▁end｜>"


def _describe_minimax(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "".join([f"<tool>{_dumps(_function(tool))}</tool>\n" for tool in tools])
    return (
        "# Tools\nYou may call one or more tools to assist with the user query.\n"
        f"Here are the tools available in JSONSchema format:\n\n<tools>\n{signatures}</tools>\n\n"
        "When making tool calls, use XML format to invoke tools and pass parameters:\n\n"
        '<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
        '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>'
    )


def _minimax_calls(calls: Sequence[AnyCall]) -> str:
    invoked = [f'<invoke name="{call.name}">\n{_minimax_arguments(call)}</invoke>\n' for call in calls]
    return f"<minimax:tool_call>\n{''.join(invoked)}</minimax:tool_call>"


def _minimax_arguments(call: AnyCall) -> str:
    values = _values(call)
    if values is None:
        return f"{call.arguments}\n"
    return "".join([f'<parameter name="{key}">{value}</parameter>\n' for key, value in values.items()])


def _minimax_result(result: ToolResultMessage) -> str:
    return f"<response>{result.text}</response>"


# ------------------------------------------------------------------------------------------------ small models


def _describe_json(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n".join([_dumps(_function(tool)) for tool in tools])
    return (
        f"You can call these functions:\n{signatures}\n\n"
        "To call one, answer with a JSON block that has its name and its arguments, in exactly this form:\n"
        '```json\n{"name": "function_name", "arguments": {"argument_name": "value"}}\n```\n'
        "Where no function helps, just answer."
    )


def _describe_listed(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n".join([_dumps(_function(tool)) for tool in tools])
    return (
        f"You can call these functions:\n{signatures}\n\n"
        "Answer with a JSON list of all the calls that the request needs, each with its name and its arguments, in"
        ' exactly this form:\n[{"name": "function_name", "arguments": {"argument_name": "value"}}]'
    )


def _json_calls(calls: Sequence[AnyCall]) -> str:
    objects = ",\n".join(map(_object, calls))
    return f"```json\n{objects if len(calls) == 1 else f'[{objects}]'}\n```"


WRITINGS = {
    "hermes": Writing(_describe_hermes, _hermes_calls, _tool_response),
    "qwen_coder": Writing(_describe_qwen_coder, _qwen_coder_calls, _tool_response),
    "llama3": Writing(_describe_llama3, _llama3_calls, _answer),
    "pythonic": Writing(_describe_pythonic, _pythonic_calls, _answer),
    "mistral": Writing(_describe_mistral, _mistral_calls, _mistral_result),
    "harmony": Writing(_describe_harmony, _harmony_calls, _harmony_result, _harmony_text, "<|start|>assistant"),
    "kimi": Writing(_describe_kimi, _kimi_calls, _kimi_result),
    "glm": Writing(_describe_glm, _glm_calls, _tool_response),
    "deepseek": Writing(_describe_deepseek, _deepseek_calls, _deepseek_result),
    "minimax": Writing(_describe_minimax, _minimax_calls, _minimax_result),
    "json": Writing(_describe_json, _json_calls, _answer),
}
"""By the format's name."""

LISTED = WRITINGS["json"]._replace(describe=_describe_listed)
"""For an answer that is held to a list of calls."""
