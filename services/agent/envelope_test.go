package agent

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnvelope(t *testing.T) {
	t.Parallel()
	three := &Coverage{Targets: 3, Answered: 1, Denied: 1, Failed: 1}
	for name, row := range map[string]struct {
		out  ToolOutput
		want Envelope
	}{
		"plain text":  {out: ToolOutput{Text: " hello "}, want: Envelope{OK: true, Text: "hello"}},
		"quoted text": {out: ToolOutput{Text: `"hello"`}, want: Envelope{OK: true, Text: "hello"}},
		"other JSON":  {out: ToolOutput{Text: `{ "items": [1] }`}, want: Envelope{OK: true, Text: `{"items":[1]}`}},
		"a result that is data keeps its siblings": {
			out: ToolOutput{Text: `{"result":{"a":1},"next":"n"}`}, want: Envelope{OK: true, Text: `{"result":{"a":1},"next":"n"}`},
		},
		"marked as an error":        {out: ToolOutput{Text: "no", IsError: true}, want: Envelope{Text: "no"}},
		"marked as an error inside": {out: ToolOutput{Text: `{"isError":true,"content":[{"type":"text","text":"no"}]}`}, want: Envelope{Text: "no"}},
		"refused": {
			out:  ToolOutput{Text: `{"ok":false,"error":{"code":"invalid","message":"m","hint":"h"}}`},
			want: Envelope{Fault: &Fault{Code: "invalid", Message: "m", Hint: "h"}, Text: `{"ok":false,"error":{"code":"invalid","message":"m","hint":"h"}}`},
		},
		"the bridge's members inside the data are data": {
			out:  ToolOutput{Text: `{"ok":true,"data":"{\"ok\":true,\"coverage\":{\"targets\":9,\"answered\":9}}"}`},
			want: Envelope{OK: true, Text: `{"ok":true,"data":"{\"ok\":true,\"coverage\":{\"targets\":9,\"answered\":9}}"}`},
		},
		"absurd coverage is not believed": {
			out:  ToolOutput{Text: `{"ok":true,"coverage":{"targets":-1}}`},
			want: Envelope{OK: true, Text: `{"ok":true,"coverage":{"targets":-1}}`},
		},
		"coverage counted from the results if it is missing": {
			out: ToolOutput{Text: `{"ok":true,"results":[{"account_id":"1","status":"ok"},{"account_id":"2","status":"denied","error":"no"},{"account_id":"3","status":"throttled"},7,{"region":"x"}]}`},
			want: Envelope{
				OK: true, Coverage: three,
				Receipts: []Receipt{{AccountID: "1", Status: "ok"}, {AccountID: "2", Status: "denied", Error: &Fault{Code: "internal", Message: "no"}}, {AccountID: "3", Status: "throttled"}},
				Text:     `{"ok":true,"results":[{"account_id":"1","status":"ok"},{"account_id":"2","status":"denied","error":"no"},{"account_id":"3","status":"throttled"},7,{"region":"x"}]}`,
			},
		},
		"an answer and a note beside it": {
			out: ToolOutput{Text: `{"ok":false,"coverage":{"targets":1,"denied":1}}` + "\na note", Blocks: []string{`{"ok":false,"coverage":{"targets":1,"denied":1}}`, "a note"}},
			want: Envelope{
				Coverage: &Coverage{Targets: 1, Denied: 1}, Answer: json.RawMessage(`{"ok":false,"coverage":{"targets":1,"denied":1}}`),
				Text: `{"ok":false,"coverage":{"targets":1,"denied":1}}` + "\na note",
			},
		},
	} {
		if strings.HasPrefix(row.want.Text, `{"ok"`) && row.want.Answer == nil { // the answer is all of the text
			row.want.Answer = json.RawMessage(row.want.Text)
		}
		if diff := cmp.Diff(row.want, ParseEnvelope(row.out)); diff != "" {
			t.Errorf("%s: ParseEnvelope mismatch (-want +got):\n%s", name, diff)
		}
	}
}

// FuzzParseEnvelope holds that no tool output breaks the reader, makes it invent coverage beyond belief,
// or makes it lose text.
func FuzzParseEnvelope(f *testing.F) {
	for _, seed := range []string{
		``, `hello`, `"{\"ok\":true}"`, `{"ok":true,"coverage":{"targets":2,"answered":1}}`, `{"content":[{"type":"text","text":"{\"ok\":false}"}]}`,
		`{"result":{"result":{"result":{"ok":true}}}}`, `[{"type":"text","text":"x"}]`, `{"ok":true,"results":[{"account_id":"1","receipt":{"api_calls":1e99}}]}`, `{"ok":1}`, `{"structuredContent":null}`,
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, text string, structured bool) {
		out := ToolOutput{Text: text}
		if structured {
			out = ToolOutput{Structured: json.RawMessage(text)}
		}
		envelope := ParseEnvelope(out)
		if envelope.Coverage != nil && !envelope.Coverage.sane() {
			t.Errorf("coverage %+v", envelope.Coverage)
		}
		if !structured && strings.TrimSpace(text) != "" && envelope.Text == "" && !json.Valid([]byte(strings.TrimSpace(text))) {
			t.Errorf("the text %q was lost", text)
		}
		var asked account
		asked.record(ToolCall{Name: "t", Input: json.RawMessage(`{}`)}, envelope)
		if notice := asked.notice(); strings.ContainsAny(notice, "\n\r\x00") {
			t.Errorf("the notice %q is more than a line", notice)
		}
	})
}

func TestNotice(t *testing.T) {
	t.Parallel()
	target := func(id, status string) Receipt {
		return Receipt{AccountID: id, Region: "us-east-1", Status: status, Operation: "ec2:DescribeInstances"}
	}
	var asked account
	asked.record(ToolCall{Name: "q"}, Envelope{OK: true, Coverage: &Coverage{Targets: 2, Answered: 1, Failed: 1}, Receipts: []Receipt{target("1", "ok"), target("2", "timeout")}})
	if want := "Coverage: 1 of 2 targets answered, 1 failed. Not answered: 2 in us-east-1 timeout. Totals leave these out."; asked.notice() != want {
		t.Errorf("notice %q, want %q", asked.notice(), want)
	}
	asked.record(ToolCall{Name: "q"}, Envelope{OK: true, Coverage: &Coverage{Targets: 1, Answered: 1}, Receipts: []Receipt{target("2", "ok")}})
	if want := "Coverage: 2 of 3 targets answered, 1 failed. Each of them answered when it was asked again."; asked.notice() != want {
		t.Errorf("notice after the second try %q, want %q", asked.notice(), want)
	}

	var whole account
	whole.record(ToolCall{Name: "q"}, Envelope{OK: true, Coverage: &Coverage{Targets: 2, Answered: 2}})
	whole.record(ToolCall{Name: "q"}, Envelope{Fault: &Fault{Code: "invalid"}})
	if got := whole.notice(); got != "" {
		t.Errorf("notice %q over full coverage and a corrected call, want none", got)
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	usage := Usage{InputTokens: 1_000_000, OutputTokens: 100_000, CacheReadTokens: 1_000_000, CacheWriteTokens: 1_000_000}
	if usd, known := Cost("us.anthropic.claude-haiku-4-5-20251001-v1:0", usage); !known || usd < 2.84 || usd > 2.86 {
		t.Errorf("Cost = %v, %v, want 2.85", usd, known)
	}
	if _, known := Cost("meta.llama", usage); known {
		t.Error("a price was made up")
	}
}
