"""For each check, what is probably wrong where it fails: one sentence, in the words of who wrote the provider."""

from __future__ import annotations

__all__ = ["probable_cause"]

_CAUSES = {
    "rule_1_a_whole_answer_is_whole": "the decoder drops, strips, joins or doubles what an event says.",
    "rule_1_end_comes_once_and_last": "End is given at the provider's last word and again at the end of the bytes.",
    "rule_1_end_tells_reason_and_usage": "the finish reason or a token count is not read, or is read from the wrong"
    " field.",
    "rule_1_finish_reasons": "the provider's word for this reason is missing from the table of finish reasons.",
    "rule_1_sealed_calls_end_in_tool_calls": 'the provider\'s word "stop" is believed though calls came: then the'
    " reason is TOOL_CALLS.",
    "rule_1_an_answer_that_was_cut_raises": "the end of the bytes is taken for the end of the answer: raise"
    " IncompleteStreamError unless the provider's last word was seen.",
    "rule_2_a_call_cut_by_the_length_limit_is_unfinished": "open calls are sealed when the answer ends, or because"
    " their text parses.",
    "rule_2_a_call_before_the_one_that_was_cut": "all calls of a limited answer are treated alike: only those that the"
    " provider sealed are calls.",
    "rule_2_arguments_that_are_no_object_are_an_invalid_call": "a sealed call becomes a ToolCall though its arguments"
    " are not a JSON object.",
    "rule_2_an_error_seals_nothing": "open calls are sealed when the provider reports an error.",
    "rule_2_a_sealed_call_comes_at_once": "calls are held back until the answer ends.",
    "rule_3_ids_are_kept": "ids are made up, or lost, though the provider sent some.",
    "rule_3_parallel_calls_stay_apart": "the calls are keyed alike, so that their deltas are mixed.",
    "rule_3_calls_may_end_in_any_order": "a delta or a seal is given to the call that began last, not to the one that"
    " it names.",
    "rule_3_ids_that_are_no_good_are_replaced": "a blank or repeated id is passed on.",
    "rule_3_an_id_of_the_conversation_is_not_used_again": "the decoder is not told which ids the conversation holds"
    " (taken).",
    "rule_4_every_increment_comes_through": "a delta is dropped, merged with another, or changed.",
    "rule_4_empty_increments_give_no_frames": "an empty delta is passed on as a frame.",
    "rule_4_frames_keep_the_order_of_the_wire": "frames are held back and given later, behind others.",
    "rule_4_arguments_are_as_the_model_wrote_them": "the arguments are parsed and written anew.",
    "rule_4_partial_is_what_was_iterated": "stream.partial is not kept up with the frames.",
    "rule_5_the_same_frames_for_every_chunking": "each read is decoded for itself, though events and characters go on"
    " in the next.",
    "rule_5_the_same_frames_before_an_error": "the frames of a read are lost when an event of the same read is an"
    " error.",
    "rule_5_frames_come_with_their_bytes": "frames are collected, or a buffer waits until it is full.",
    "rule_5_compressed_bytes": "the raw bytes are decoded though the client asked for compression.",
    "rule_6_streamed_equals_complete": "the complete body is read by other code than the stream, which leaves something"
    " out.",
    "rule_6_the_text_stream_is_the_text_frames": "execute_streaming changes the text, or swallows the error of a cut"
    " answer.",
    "rule_7_unknown_events_are_skipped_and_counted": "an unknown event is refused, passed on, or skipped without being"
    " counted in stream.skipped.",
    "rule_7_a_malformed_event_is_a_protocol_error": "an event that cannot be read is skipped in silence.",
    "rule_7_an_event_without_end_is_a_protocol_error": "the decoder keeps any number of bytes of one event.",
    "rule_8_closing_closes_the_connection": "the response is not closed when its stream is.",
    "rule_8_cancelling_at_any_moment_closes": "a cancellation is caught as if it were an error of the network.",
    "rule_8_cancelling_and_closing_at_once": "a cancelled read ends quietly instead of raising CancelledError.",
    "rule_8_cancelling_execute_closes": "the request goes on in a task of its own, or is shielded.",
    "rule_8_a_dropped_stream_warns_and_closes": "something keeps a reference to the stream.",
    "rule_8_a_closed_stream_gives_nothing": "a stream that was closed early is taken for a whole answer.",
    "rule_8_a_whole_answer_leaves_the_connection_usable": "the response is closed before its body was read to the end,"
    " or connections are not kept.",
    "rule_9_nothing_reads_ahead_without_bound": "a task reads the response into a queue without a limit.",
    "a_closed_client_says_so": "the client opens a new session after aclose().",
    "the_three_clocks": "the client does not pass its timeouts to the stream.",
    "a_clock_for_execute": "execute() waits for the answer without a timeout.",
    "two_hundred_streams_do_not_mix": "what belongs to one request is kept on the client.",
    "http_errors_have_their_class": "all statuses become one error, or provider, model, status or retry_after is left"
    " out.",
    "keys_are_in_no_error": "the server's text, or the client's own, quotes the key in the error.",
    "an_error_in_the_stream_is_raised": "an error event is taken for the end of the answer, or is skipped.",
    "http_200_without_a_stream_is_an_error": "a body without any event is taken for an empty answer.",
    "an_unreachable_server_is_a_transport_error": "an exception of the HTTP library gets out as it is.",
    "the_models_are_listed": "the list is read from the wrong field, or names another provider.",
    "the_prompt_is_in_the_request": "a message is left out, or messages are in another order.",
    "tools_are_in_the_request": "the tools, or their descriptions or parameters, are not written.",
    "results_go_back_with_their_calls": "a result, an error or a text beside the calls is left out of the request.",
    "an_invalid_call_can_be_answered": "InvalidToolCall is left out of the history.",
    "an_answer_with_reasoning_can_be_sent_back": "a message with reasoning makes no request.",
    "another_providers_answer_can_be_sent": "provider_data of another provider is read as if it were its own.",
    "parts_are_sent_or_refused": "the part is dropped, or its capability is declared and it is not written.",
    "images_in_results_are_sent_or_refused": "an image in a tool's result is dropped.",
    "cache_marks_are_sent_or_refused": "CACHE_CONTROL is declared and the mark is not written.",
    "parameters_are_sent_or_refused": "the parameter is dropped, or is not declared and not refused.",
    "tool_parameters_are_sent_or_refused": "the parameter is dropped, or is not declared and not refused.",
    "capabilities_are_declared_without_network": "the table goes before model.capabilities, or an unknown model is not"
    " marked known=False.",
    "what_is_not_there_is_refused_before_anything_is_sent": "check_request() is not called before the request.",
    "a_prompt_that_makes_no_sense_is_refused": "check_request() is not called before the request.",
    "a_request_that_was_read_is_not_sent_again": "the HTTP library or the SDK retries.",
    "a_redirect_to_another_origin_carries_nothing": "the HTTP library follows redirects.",
    "closing_the_client_closes_every_connection": "aclose() does not close the HTTP session or the SDK's client.",
    "a_key_in_an_error_of_the_stream_is_redacted": "the decoder's error does not pass through the client's redaction.",
    "the_repr_of_a_client_holds_no_key": "the client is a dataclass, or its __repr__ shows its options.",
    "a_key_of_the_environment_stays_at_home": "the client reads the variable whatever its base_url is.",
    "a_request_does_not_change_its_prompt": "the request is built in place: copy dicts before you change them.",
    "what_another_provider_made_stays_there": "message.origin is not compared before provider_data and reasoning are"
    " written.",
    "tool_choices_are_told_apart": "a value of tool_choice is not written.",
    "efforts_are_told_apart": "the effort is not written, or always the same one.",
    "halves_of_a_character_are_joined": "JSON is decoded strictly, event by event.",
    "faulty_wires": "the decoder relies on something that real servers do otherwise; the mutator's name says what.",
    "what_the_provider_wants_back_goes_back": "the token is not kept in provider_data, or not written from it.",
    "a_refused_prompt_is_no_empty_answer": "the decoder does not read the reason of the refusal.",
    "a_malformed_call_is_no_call": "the provider's word for a malformed call is mapped to a normal end.",
    "the_last_usage_counts": "the first count is kept, or counts are added up: they are running totals.",
    "every_count_is_read": "the field of this count is not read.",
    "every_way_to_end_is_an_end": "the decoder waits for an event that not every server sends.",
    "data_behind_the_last_word_belongs_to_the_answer": "the decoder ends with the reason, not with the bytes.",
    "an_event_of_which_nothing_was_read_is_counted": "every field of an event has a default.",
    "the_loop_does_not_wait_for_an_answer": "something in the client or the decoder blocks.",
    "the_callers_http_client_stays_open": "the client closes what it did not make.",
    "the_messages_are_in_the_request": "a role, a name or an id is changed on its way.",
    "arguments_go_back_to_the_letter": "the arguments are parsed and written anew.",
}


def probable_cause(check: str) -> str:
    """The sentence for this check, which follows the word "Probably"."""
    return _CAUSES[check.removeprefix("test_")]
