package awsmcp

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
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
		body = valid(body) // others are read to their end
		read, err := readBody(kind, bytes.NewReader(body), -1, 1)
		if err != nil {
			t.Fatalf("a body without a fault: %v", err)
		}
		whole, wholeErr := decode[jsontext.Value](kind, body, 1)
		part, partErr := decode[jsontext.Value](kind, read, 1)
		if wholeErr == nil && (partErr != nil || !reflect.DeepEqual(whole, part)) {
			t.Errorf("%q: the whole answers %+v, what was read of it %+v (%v)", body, whole, part, partErr)
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
		if _, found := findTask(valid(answer), task); found && !jsontext.Value(valid(answer)).IsValid(lenient) {
			t.Errorf("found task %q in %q, which is no JSON", task, answer)
		}
	})
}

// FuzzScriptAnswer holds that of an answer of run_script, whatever it is, no part is taken that is not JSON.
func FuzzScriptAnswer(f *testing.F) {
	for _, result := range []string{
		`{"structuredContent":{"status":"success","return_value":{"regions":{}},"api_calls":[{"service":"ec2"}]}}`, `{"content":[{"type":"text","text":"{\"status\":\"error\",\"error\":\"x\"}"}]}`,
		`{"content":[{"type":"text","text":"words"}],"isError":true}`, `{"structuredContent":null}`, `{"content":[{"type":"image","data":"AA=="}]}`,
		`{"structuredContent":{"status":"working","task_id":"t","recommended_wait_seconds":1e9}}`, `{"structuredContent":[]}`,
	} {
		f.Add([]byte(result))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var result toolResult[run]
		if unmarshal(valid(raw), &result) != nil {
			return
		}
		_ = result.text()
		if got := result.Structured; got != nil && len(got.Value) > 0 && !got.Value.IsValid(lenient) {
			t.Errorf("%q has the value %q", raw, got.Value)
		}
	})
}
