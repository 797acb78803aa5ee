//! Exchanges with providers that speak `OpenAI`'s language come in; names, usage and reported costs are compared.

use crate::http::BodyEnd;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::tests::Story;
use crate::provider::tests::counts;

const ASKED: &str = r#"{"messages":[{"role":"user","content":"hi"}],"model":"m"}"#;

/// Host, target, usage; provider, price key, counts.
const WHOLE: &[(&str, &str, &str, [&str; 3])] = &[
    (
        "api.groq.com",
        "/openai/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2,"queue_time":0.1}"#,
        ["groq", "groq", "in=1 out=2"],
    ),
    (
        "api.deepseek.com",
        "/chat/completions",
        r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}"#,
        ["deepseek", "deepseek", "in=1 read=8 out=2"],
    ),
    (
        "api.mistral.ai",
        "/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["mistral_ai", "mistral", "in=1 out=2"],
    ),
    (
        "api.together.xyz",
        "/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["together", "together", "in=1 out=2"],
    ),
    (
        "api.fireworks.ai",
        "/inference/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["fireworks", "fireworks", "in=1 out=2"],
    ),
    (
        "openrouter.ai",
        "/api/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2,"cost":0.00042}"#,
        ["openrouter", "openrouter", "in=1 out=2 usd=420000000"],
    ),
    (
        "api.x.ai",
        "/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":3},"cost_in_usd_ticks":15}"#,
        ["x_ai", "x-ai", "in=1 out=5 think=3 usd=1500"],
    ),
    (
        "api.perplexity.ai",
        "/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2,"reasoning_tokens":3,"cost":{"total_cost":0.005}}"#,
        ["perplexity", "perplexity", "in=1 out=5 think=3 usd=5000000000"],
    ),
    (
        "api.moonshot.ai",
        "/v1/chat/completions",
        r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":8}"#,
        ["moonshot_ai", "moonshotai", "in=1 read=8 out=2"],
    ),
    (
        "api.z.ai",
        "/api/paas/v4/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["zai", "zai", "in=1 out=2"],
    ),
    (
        "dashscope-intl.aliyuncs.com",
        "/compatible-mode/v1/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["dashscope", "dashscope", "in=1 out=2"],
    ),
    (
        "api.githubcopilot.com",
        "/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["github_copilot", "github-copilot", "in=1 out=2"],
    ),
    (
        "models.github.ai",
        "/inference/chat/completions",
        r#"{"prompt_tokens":1,"completion_tokens":2}"#,
        ["azure.ai.inference", "azure", "in=1 out=2"],
    ),
    (
        "dbc-1.cloud.databricks.com",
        "/serving-endpoints/x/invocations",
        r#"{"prompt_tokens":9,"completion_tokens":2,"cache_read_input_tokens":8}"#,
        ["databricks", "databricks", "in=1 read=8 out=2"],
    ),
];

#[test]
fn whole_chats_are_read_at_every_provider() {
    for (host, target, usage, [provider, price, expected]) in WHOLE {
        let answer = format!(
            r#"{{"id":"c1","model":"m","choices":[{{"message":{{"content":"x"}}}}],"usage":{usage}}}"#
        );
        let call = Story::new(host, target, ASKED, &answer).call();
        assert_eq!((call.provider.as_str(), call.price_provider.as_str()), (*provider, *price));
        assert_eq!(
            (call.operation, counts(&call.usage).as_str()),
            (Operation::Chat, *expected),
            "{host}"
        );
        assert_eq!((call.usage_quality, call.listed), (UsageQuality::Reported, true), "{host}");
    }
}

#[test]
fn streamed_chats_are_read_at_every_provider() {
    for (host, target, usage, [_, _, expected]) in WHOLE {
        let answer = format!(
            ": PROCESSING\n\ndata: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{{\"delta\":{{\"reasoning\":\"x\"}}}}]}}\n\n\
            data: {{\"id\":\"c1\",\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
        );
        let call = Story::new(host, target, ASKED, &answer).call();
        assert_eq!(
            (counts(&call.usage).as_str(), call.usage_quality),
            (*expected, UsageQuality::Reported),
            "{host}"
        );
        assert!(call.stream && call.first_token_ns.is_some(), "{host}");
    }
}

#[test]
fn groq_streams_carry_their_usage_in_a_field_of_their_own() {
    let events = "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"x_groq\":{\"id\":\"req_1\"}}\n\n\
        data: {\"id\":\"c1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}}\n\ndata: [DONE]\n\n";
    let call = Story::new("api.groq.com", "/openai/v1/chat/completions", ASKED, events).call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=3 out=4", UsageQuality::Reported)
    );
}

#[test]
fn moonshot_streams_carry_their_usage_in_the_choice() {
    let events = "data: {\"id\":\"c1\",\"model\":\"kimi-k3\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n\
        data: {\"id\":\"c1\",\"model\":\"kimi-k3\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,\"cached_tokens\":8}}]}\n\ndata: [DONE]\n\n";
    let call = Story::new("api.moonshot.ai", "/v1/chat/completions", ASKED, events).call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=1 read=8 out=2", UsageQuality::Reported)
    );
}

#[test]
fn cumulative_chunks_are_overwritten_and_a_cut_makes_them_partial() {
    let chunk = |out: u8| {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":{out},\"cost\":{{\"total_cost\":0}}}}}}\n\n"
        )
    };
    let events = [chunk(1), chunk(2), chunk(3)].concat();
    let story =
        Story::new("api.perplexity.ai", "/chat/completions", ASKED, &events).cut(BodyEnd::Aborted);
    let call = story.call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=5 out=3", UsageQuality::Partial)
    );
}

#[test]
fn conversations_of_mistral_count_what_their_tools_have_read() {
    const USAGE: &str = r#""usage":{"prompt_tokens":177,"completion_tokens":134,"total_tokens":4240,"connector_tokens":3929,"connectors":{"web_search":1}}"#;
    let asked = r#"{"inputs":"hi","model":"mistral-small-latest","tools":[{"type":"web_search"}]}"#;
    let whole = format!(
        r#"{{"object":"conversation.response","conversation_id":"conv_1","outputs":[{{"type":"tool.execution"}},{{"type":"message.output","model":"mistral-small-latest","content":"x"}}],{USAGE}}}"#
    );
    let events = format!(
        "event: message.output.delta\ndata: {{\"type\":\"message.output.delta\",\"id\":\"e1\",\"model\":\"mistral-small-latest\",\"content\":\"x\"}}\n\n\
        event: conversation.response.done\ndata: {{\"type\":\"conversation.response.done\",{USAGE}}}\n\n"
    );
    for (answer, end) in [(whole, BodyEnd::Complete), (events, BodyEnd::Aborted)] {
        let story = Story::new("api.mistral.ai", "/v1/conversations", asked, &answer);
        let call = story.cut(end).call();
        assert_eq!(
            (call.operation, counts(&call.usage).as_str()),
            (Operation::Chat, "in=4106 out=134 web=1")
        );
        assert_eq!(call.response_model.as_deref(), Some("mistral-small-latest"));
        assert_eq!((call.usage_quality, call.error_type), (UsageQuality::Reported, None));
    }
}

#[test]
fn amounts_are_read_of_pictures_embeddings_and_answers_come_back_for() {
    const TICKS: &str = r#"{"data":[{"url":"u"}],"usage":{"cost_in_usd_ticks":200000000}}"#;
    const COST: &str = r#"{"object":"list","data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8,"cost":0.00042}}"#;
    const DEFERRED: &str = r#"{"id":"c1","model":"m","choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"cost_in_usd_ticks":15}}"#;
    const CASES: &[(&str, &str, &str, &str, &str)] = &[
        ("api.x.ai", "POST", "/v1/images/generations", TICKS, "usd=20000000000"),
        ("openrouter.ai", "POST", "/api/v1/embeddings", COST, "in=8 out=0 usd=420000000"),
        ("api.x.ai", "GET", "/v1/chat/deferred-completion/r1", DEFERRED, "in=1 out=2 usd=1500"),
    ];
    for (host, method, target, answer, expected) in CASES {
        let call = Story { method, ..Story::new(host, target, ASKED, answer) }.call();
        assert_eq!(
            (counts(&call.usage).as_str(), call.usage_quality, call.repeated),
            (*expected, UsageQuality::Reported, *method == "GET"),
            "{target}"
        );
    }
}

#[test]
fn ollama_streams_lines() {
    let lines = "{\"model\":\"llama3\",\"message\":{\"role\":\"assistant\",\"content\":\"He\"},\"done\":false}\n\
        {\"model\":\"llama3\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"prompt_eval_count\":26,\"eval_count\":298}\n";
    let story = Story::new(
        "ollama.corp.example",
        "/api/chat",
        r#"{"model":"llama3","messages":[{}]}"#,
        lines,
    );
    let call = Story { answer_type: "application/x-ndjson", ..story }.call();
    assert_eq!((call.provider.as_str(), call.listed), ("unlisted", false));
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=26 out=298", UsageQuality::Reported)
    );
    assert!(call.stream && call.first_token_ns.is_some());
}

#[test]
fn an_undecoded_provider_is_named_and_counted() {
    const CASES: &[(&str, &str, &str, Operation)] = &[
        (
            "claude.ai",
            "/api/organizations/org/chat_conversations/c/completion",
            "anthropic",
            Operation::Chat,
        ),
        ("api2.cursor.sh", "/agent.v1.AgentService/Run", "cursor", Operation::Chat),
        ("api.elevenlabs.io", "/v1/text-to-speech/v/stream", "elevenlabs", Operation::Speech),
        ("api.deepgram.com", "/v1/listen?model=nova", "deepgram", Operation::Transcription),
        ("poe.com", "/x", "poe", Operation::Other),
    ];
    for (host, target, provider, operation) in CASES {
        let call = Story::new(host, target, "", "{}").call();
        assert_eq!((call.provider.as_str(), call.operation), (*provider, *operation), "{host}");
        assert_eq!(call.usage_quality, UsageQuality::Missing);
    }
}
