package awsmcp

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

func FuzzDecode(f *testing.F) {
	f.Add("application/json", []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	f.Add("text/event-stream", []byte("data: {\"id\":1,\ndata: \"result\":{}}\n\n"))
	f.Add("text/event-stream; charset=utf-8", []byte("\uFEFFdata: {}\r\rdata:x\r\n"))
	f.Add("application/json", []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-30001,"message":"gone"}}`))
	f.Add("", []byte(`[]`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		got, err := decode[jsontext.Value](kind, body, 1)
		if err == nil && got.Error == nil && (got.Result == nil || !got.Result.IsValid(lenient)) {
			t.Errorf("took %q for an answer", body)
		}
	})
}

// TestFindTask: what names the task is it, whatever stands beside; one that nobody names is the first.
func TestFindTask(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"a":{"return_value":1},"b":{"task_id":"t-1","return_value":2},"c":{"return_value":3}}`: "2",
		`{"a":{"return_value":1},"b":{"t-1":{"return_value":2}}}`:                                "2",
		`{"a":{"x":0},"b":{"return_value":1},"c":{"return_value":2},"d":{"return_value":3}}`:     "1",
		`{"tasks":[{"task_id":"t-2","return_value":1},{"taskId":"t-1","return_value":2}]}`:       "2",
		`{"tasks":[{"task_id":"t-2","return_value":1}]}`:                                         "",
	} {
		for range 20 { // whatever comes first out of a map
			if got, found := findTask(jsontext.Value(answer), "t-1"); string(got.Value) != want || found != (want != "") {
				t.Fatalf("%s: got %s, want %s", answer, got.Value, want)
			}
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bridge.Code{
		"ClientError('An error occurred (UnauthorizedOperation) when calling the X operation: y')":            bridge.Forbidden,
		"An error occurred (AccessDeniedException) when calling the X operation: Throttling is not the cause": bridge.Forbidden,
		"An error occurred (ThrottlingException) when calling the X operation (reached max retries: 4): no":   bridge.Throttled,
		"An error occurred (AuthFailure) when calling the X operation: y":                                     bridge.Unauthenticated,
		"An error occurred (InvalidParameterValue) when calling the X operation: not authorized to perform":   bridge.Invalid,
		"An error occurred (NoSuchBucket) when calling the X operation: y":                                    bridge.NotFound,
		"EndpointConnectionError('Could not connect to the endpoint URL: \"https://x\"')":                     bridge.Unavailable,
		"ParamValidationError('Parameter validation failed: y')":                                              bridge.Invalid,
		"timed out: AWS gave no answer within the time for this query":                                        bridge.Timeout,
		"TimeoutError()": bridge.Timeout,
		"An error occurred (ExpiredToken) when calling the X operation: y":  bridge.Unauthenticated,
		"An error occurred (InternalError) when calling the X operation: y": bridge.Unavailable,
		"NameError: name 'x' is not defined":                                bridge.Unavailable,
		// Operations that begin with Head have no body to hold a code: botocore tells the status.
		"ClientError('An error occurred (403) when calling the HeadBucket operation: Forbidden')":                        bridge.Forbidden,
		"ClientError('An error occurred (401) when calling the HeadBucket operation: Unauthorized')":                     bridge.Unauthenticated,
		"ClientError('An error occurred (404) when calling the HeadBucket operation: Not Found')":                        bridge.NotFound,
		"ClientError('An error occurred (429) when calling the HeadBucket operation: Too Many Requests')":                bridge.Throttled,
		"ClientError('An error occurred (503) when calling the HeadBucket operation: Slow Down')":                        bridge.Unavailable,
		"ClientError('An error occurred (400) when calling the HeadBucket operation: Bad Request')":                      bridge.Invalid,
		"ClientError('An error occurred (500) when calling the HeadBucket operation: Internal Server Error')":            bridge.Unavailable,
		"An error occurred (InvalidInstanceID.NotFound) when calling the DescribeInstances operation: y":                 bridge.NotFound,
		"An error occurred (InvalidInstanceID.Malformed) when calling the DescribeInstances operation: y":                bridge.Invalid,
		"An error occurred (AWS.SimpleQueueService.NonExistentQueue) when calling the GetQueueUrl operation: y":          bridge.NotFound,
		"An error occurred (InvalidAccessKeyId) when calling the ListBuckets operation: y":                               bridge.Unauthenticated,
		"An error occurred (LimitExceededException) when calling the DescribeStream operation: Rate exceeded for stream": bridge.Throttled,
		"OperationNotFoundError: describe_instances":                                                                     bridge.Unavailable,
	} {
		if got := bridge.CodeOf(Classify(text, "111111111111")); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestDriftIsNamed(t *testing.T) {
	t.Parallel()
	tools := map[string]jsontext.Value{}
	for name := range Needed {
		tools[name] = jsontext.Value(`{"type":"object"}`)
	}
	if drift := Drift(tools); drift != nil {
		t.Errorf("no drift: %v", drift)
	}
	delete(tools, "aws___get_tasks")
	tools["aws___run_script"] = jsontext.Value(`{"properties":{"source":{},"zone":{}},"required":["source"]}`)
	drift := Drift(tools)
	want := []string{"aws___get_tasks is missing", "aws___run_script requires source", "aws___run_script takes no code"}
	if len(drift) != 3 || drift[0] != want[0] || drift[1] != want[1] || drift[2] != want[2] {
		t.Errorf("drift %v, want %v", drift, want)
	}
}
