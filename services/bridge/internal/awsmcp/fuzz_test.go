package awsmcp

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzReadBody holds that reading an answer only as far as it is needed loses nothing: what the whole body answers,
// the part that was read does, too.
func FuzzReadBody(f *testing.F) {
	for _, body := range []string{
		"data: {\"id\":1,\"result\":{}}\n\n", ": hi\r\ndata: {\"method\":\"x\"}\r\n\r\ndata: {\"id\":1,\r\ndata: \"result\":{}}\r\n\r\n",
		"data:{\"id\":2,\"result\":{}}\n\ndata:{\"id\":\"1\",\"error\":{}}", "\n\n\n", "{\"id\":1,\"result\":[]}",
	} {
		f.Add(eventStream, []byte(body))
		f.Add("application/json", []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		read, err := readBody(kind, bytes.NewReader(body), 1)
		if err != nil {
			t.Fatalf("a body without a fault: %v", err)
		}
		whole, wholeErr := decode(kind, body, 1)
		part, partErr := decode(kind, read, 1)
		if wholeErr == nil && (partErr != nil || string(whole.Result) != string(part.Result)) {
			t.Errorf("%q: the whole answers %s, what was read of it %s (%v)", body, whole.Result, part.Result, partErr)
		}
	})
}

// FuzzFindTask holds that no answer of get_tasks breaks the reader.
func FuzzFindTask(f *testing.F) {
	for _, answer := range []string{
		`{"tasks":[{"task_id":"t-1","status":"completed","return_value":{"regions":{}}}]}`, `{"t-1":{"status":"working","recommended_wait_seconds":5}}`,
		`{"id":"t-1","result":"{\"return_value\":1}"}`, `[[{"taskId":"t-1","output":{"error":"no"}}]]`, `{"status":1,"task_id":"t-1"}`, `null`,
	} {
		f.Add([]byte(answer), "t-1")
	}
	f.Fuzz(func(t *testing.T, answer []byte, task string) {
		if _, found := findTask(answer, task); found && !json.Valid(answer) {
			t.Errorf("found task %q in %q, which is no JSON", task, answer)
		}
	})
}

// FuzzToolResult holds that whatever a tool answers has a value, and that this is JSON.
func FuzzToolResult(f *testing.F) {
	for _, result := range []string{
		`{"structuredContent":{"status":"success"}}`, `{"content":[{"type":"text","text":"{\"a\":1}"}]}`, `{"content":[{"type":"text","text":"words"}],"isError":true}`,
		`{"structuredContent":null}`, `{"content":[{"type":"image","data":"AA=="}]}`,
	} {
		f.Add([]byte(result))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var result toolResult
		if json.Unmarshal(raw, &result) != nil {
			return
		}
		if value, err := result.value(); err != nil || !json.Valid(value) {
			t.Errorf("%q has the value %q (%v)", raw, value, err)
		}
	})
}
