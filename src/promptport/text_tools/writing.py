"""How each format writes tools, past calls and results into a prompt. Pure.

Rule: the tags and the layout are those that the models were trained on (their chat templates are the source); the
sentences around them are ours. What a format writes for a call, its parser reads back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from promptport.frames import InvalidToolCall, ToolCall, parse_arguments
from promptport.messages import TextPart, ToolResultMessage
from promptport.tools import ToolDescriptor

__all__ = ["WRITINGS", "Writing"]

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
        "# Tools\n\nYou can call functions to help the user, one or several at a time."
        f" Their signatures stand inside <tools></tools> tags:\n<tools>\n{signatures}\n</tools>\n\n"
        "To call a function, write a JSON object with its name and arguments inside <tool_call></tool_call> tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def _hermes_calls(calls: Sequence[AnyCall]) -> str:
    return "\n".join([f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls])


def _describe_qwen_coder(tools: Sequence[ToolDescriptor]) -> str:
    functions = "\n".join(map(_xml_function, tools))
    return (
        f"# Tools\n\nThese functions are there for you to call:\n\n<tools>\n{functions}\n</tools>\n\n"
        "To call a function, answer in exactly this form, and write nothing after it:\n\n"
        "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
        "<parameter=example_parameter_2>\na second value,\nwhich may have several lines\n</parameter>\n"
        "</function>\n</tool_call>\n\nGive all required parameters. Where no function helps, just answer."
    )


def _xml_function(tool: ToolDescriptor) -> str:
    lines = [
        "<function>",
        f"<name>{tool.name}</name>",
        f"<description>{tool.description}</description>",
        "<parameters>",
    ]
    for name, schema in tool.parameters.get("properties", {}).items():
        lines += ["<parameter>", f"<name>{name}</name>"]
        for key, value in schema.items():
            lines.append(f"<{key}>{value if isinstance(value, str) else _dumps(value)}</{key}>")
        lines.append("</parameter>")
    required = tool.parameters.get("required")
    if required:
        lines.append(f"<required>{_dumps(required)}</required>")
    return "\n".join([*lines, "</parameters>", "</function>"])


def _qwen_coder_calls(calls: Sequence[AnyCall]) -> str:
    return "\n".join([f"<tool_call>\n<function={call.name}>\n{_xml(call)}</function>\n</tool_call>" for call in calls])


def _xml(call: AnyCall) -> str:
    try:
        arguments = parse_arguments(call.arguments)
    except ValueError:
        return call.arguments
    values = {key: value if isinstance(value, str) else _dumps(value) for key, value in arguments.items()}
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


# ------------------------------------------------------------------------------------------------ small models


def _describe_json(tools: Sequence[ToolDescriptor]) -> str:
    signatures = "\n".join([_dumps(_function(tool)) for tool in tools])
    return (
        f"You can call these functions:\n{signatures}\n\n"
        "To call one, answer with a JSON block that has its name and its arguments, in exactly this form:\n"
        '```json\n{"name": "function_name", "arguments": {"argument_name": "value"}}\n```\n'
        "Where no function helps, just answer."
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
    "json": Writing(_describe_json, _json_calls, _answer),
}
"""By the format's name."""
