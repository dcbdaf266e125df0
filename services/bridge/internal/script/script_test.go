package script

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

// sandbox stands in for the server's: a call_boto3 that answers from what it is told in PAGES, keeps
// what it was called with, and the script's last expression as the value.
const sandbox = `
import ast, asyncio, json, sys

told = json.load(sys.stdin)
calls = []

async def call_boto3(*, service_name, operation_name, region_name=None, params=None):
    calls.append({"service": service_name, "operation": operation_name, "region": region_name, "params": params})
    if operation_name == "DescribeRegions":
        return {"Regions": [{"RegionName": r} for r in told["enabled"]] + [{"RegionName": "ap-east-1", "OptInStatus": "not-opted-in"}]}
    if region_name in told["hang"]:
        await asyncio.sleep(60)
    if region_name in told["raise"]:
        raise RuntimeError(told["raise"][region_name])
    page = int((params or {}).get("NextToken", "0"))
    return told["pages"][page]

tree = ast.parse(told["code"])
last = ast.Expression(tree.body.pop().value)
names = {"call_boto3": call_boto3}

async def main():
    code = compile(tree, "script", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    kept = {}  # apart from the globals: functions of the script do not see its top-level names
    value = eval(code, names, kept)
    if value is not None:
        await value
    return eval(compile(last, "script", "eval"), names, kept)

value = asyncio.run(main())
print(json.dumps({"value": value, "calls": calls}))
`

type told struct {
	Code    string            `json:"code"`
	Enabled []string          `json:"enabled"`
	Raise   map[string]string `json:"raise"`
	Hang    []string          `json:"hang"`
	Pages   []any             `json:"pages"`
}

type heard struct {
	Value json.RawMessage
	Calls []struct {
		Service, Operation, Region string
		Params                     json.RawMessage
	}
}

// python runs the script in a real interpreter.
func python(t *testing.T, ask bridge.Ask, in told) heard {
	t.Helper()
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed, so the script cannot be run")
	}
	within := 10 * time.Second
	if len(in.Hang) > 0 {
		within = 300 * time.Millisecond
	} else {
		in.Hang = []string{}
	}
	if in.Code, err = Build(ask, within); err != nil {
		t.Fatal(err)
	}
	if in.Raise == nil {
		in.Raise = map[string]string{}
	}
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), interpreter, "-c", sandbox)
	command.Stdin = strings.NewReader(string(input))
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("python: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var h heard
	if err := json.Unmarshal(out, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

var operation = bridge.Operation{Service: "ec2", Name: "DescribeInstances",
	Pagination: &bridge.Pagination{Input: []string{"NextToken"}, Output: []string{"NextToken"}, Results: []string{"Reservations"}}}

var hostile = []string{
	`"`, `'`, `\`, `\"`, `\\`, `"""`, `'''`, "\n", "\r\n", "\t", "\x00", "\x7f", "\u2028", "\u2029", "\u0085", "😀", "é",
	`"); __import__("os").system("id"); ("`, `\x22)`, `\u0022)`, `\N{QUOTATION MARK}`, `{ask}`, `%s`, `@ASK@`, `\`, `\u`, "\ufeff", "\uffff",
	strings.Repeat(`\"`, 999),
}

func TestParametersTravelAsData(t *testing.T) {
	t.Parallel()
	params := map[string]any{}
	for i, text := range hostile {
		params[text+string(rune('a'+i%26))+string(rune('a'+i/26))] = []any{text, map[string]any{"deep": text}}
	}
	params["number"] = json.Number("9007199254740993")
	raw, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	got := python(t, bridge.Ask{Operation: operation, Params: raw, Regions: []string{"eu-west-1"}, Home: "us-east-1"}, told{Pages: []any{map[string]any{"Reservations": []any{}}}})
	if len(got.Calls) != 1 || got.Calls[0].Region != "eu-west-1" || got.Calls[0].Operation != "DescribeInstances" {
		t.Fatalf("calls: %+v", got.Calls)
	}
	if diff := cmp.Diff(decode(t, raw), decode(t, got.Calls[0].Params)); diff != "" {
		t.Errorf("params (-sent +arrived):\n%s", diff)
	}
}

// JSON knows one kind of number, boto3 two: a float is refused where an integer is wanted, but not the other way round.
func TestWholeNumbersAreIntegers(t *testing.T) {
	t.Parallel()
	got := python(t, bridge.Ask{Operation: operation, Params: json.RawMessage(`{"a":5.0,"b":[1e3,{"c":-0.0}],"d":1.5,"e":1e300,"f":9007199254740993}`), Regions: []string{"us-east-1"}},
		told{Pages: []any{map[string]any{}}})
	if want := `{"a": 5, "b": [1000, {"c": 0}], "d": 1.5, "e": 1e+300, "f": 9007199254740993}`; string(got.Calls[0].Params) != want {
		t.Errorf("arrived: %s, want %s", got.Calls[0].Params, want)
	}
}

// TestLoneSurrogatesTravel holds what Go's own strings cannot: half of a surrogate pair.
func TestLoneSurrogatesTravel(t *testing.T) {
	t.Parallel()
	got := python(t, bridge.Ask{Operation: operation, Params: json.RawMessage(`{"a":"\ud800x","b":"\udc00"}`), Regions: []string{"us-east-1"}},
		told{Pages: []any{map[string]any{}}})
	if params := string(got.Calls[0].Params); !strings.Contains(params, `\ud800x`) || !strings.Contains(params, `\udc00`) {
		t.Errorf("arrived: %s", params)
	}
}

func decode(t *testing.T, raw []byte) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestScriptReadsAllPagesOfEnabledRegions(t *testing.T) {
	t.Parallel()
	paged := operation
	paged.Pagination = &bridge.Pagination{Input: []string{"NextToken"}, Output: []string{"NextToken || Reservations[-1].Id"}, MoreResults: "IsTruncated", Results: []string{"Reservations"}}
	ask := bridge.Ask{Operation: paged, Params: json.RawMessage(`{"MaxResults":5}`), Regions: []string{"us-east-1", "eu-west-1", "ap-south-1"}, Enabled: true, Home: "us-east-1"}
	got := python(t, ask, told{
		Enabled: []string{"us-east-1", "eu-west-1", "xx-new-1"}, Raise: map[string]string{"eu-west-1": "An error occurred (AccessDenied) when calling the DescribeInstances operation"},
		Pages: []any{
			map[string]any{"Reservations": []any{1}, "NextToken": "1", "IsTruncated": true, "Owner": "a"},
			map[string]any{"Reservations": []any{2}, "NextToken": "2", "IsTruncated": true},
			map[string]any{"Reservations": []any{3}},
		},
	})
	regions, enabled, err := Parse(got.Value, ask, func(text string) error { return errors.New(text) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"eu-west-1", "us-east-1", "xx-new-1"}, enabled); diff != "" {
		t.Errorf("enabled (-want +got):\n%s", diff)
	}
	if len(regions) != 2 || regions[0].Region != "us-east-1" || regions[0].Calls != 3 || regions[0].More {
		t.Fatalf("regions: %+v", regions)
	}
	if diff := cmp.Diff(map[string]any{"Reservations": []any{1.0, 2.0, 3.0}, "Owner": "a"}, regions[0].Document); diff != "" {
		t.Errorf("merged pages (-want +got):\n%s", diff)
	}
	if regions[1].Err == nil || !strings.Contains(regions[1].Err.Error(), "AccessDenied") {
		t.Errorf("a Region's failure: %v", regions[1].Err)
	}
}

// Some operations page over an object: apigateway's GetUsage by keys, budgets' DescribeBudgetPerformanceHistory by a list in it.
func TestPagesOfObjectsAreMerged(t *testing.T) {
	t.Parallel()
	paged := operation
	paged.Pagination = &bridge.Pagination{Input: []string{"NextToken"}, Output: []string{"NextToken"}, Results: []string{"History", "Count"}}
	ask := bridge.Ask{Operation: paged, Params: json.RawMessage(`{}`), Regions: []string{"us-east-1"}}
	got := python(t, ask, told{Pages: []any{
		map[string]any{"History": map[string]any{"Name": "a", "List": []any{1}, "k1": []any{1}}, "Count": 1, "NextToken": "1"},
		map[string]any{"History": map[string]any{"Name": "a", "List": []any{2}, "k2": []any{2}}, "Count": 2},
	}})
	regions, _, err := Parse(got.Value, ask, func(text string) error { return errors.New(text) })
	if err != nil || len(regions) != 1 || regions[0].Err != nil {
		t.Fatalf("regions %+v, %v", regions, err)
	}
	want := map[string]any{"History": map[string]any{"Name": "a", "List": []any{1.0, 2.0}, "k1": []any{1.0}, "k2": []any{2.0}}, "Count": 3.0}
	if diff := cmp.Diff(want, regions[0].Document); diff != "" {
		t.Errorf("merged pages (-want +got):\n%s", diff)
	}
}

// A Region that is late says so in words, and costs the others nothing.
func TestLateRegionIsLeft(t *testing.T) {
	t.Parallel()
	ask := bridge.Ask{Operation: operation, Params: json.RawMessage(`{}`), Regions: []string{"us-east-1", "eu-west-1"}}
	got := python(t, ask, told{Hang: []string{"us-east-1"}, Pages: []any{map[string]any{"Reservations": []any{1}}}})
	regions, _, err := Parse(got.Value, ask, func(text string) error { return errors.New(text) })
	if err != nil || len(regions) != 2 || regions[1].Err != nil {
		t.Fatalf("regions %+v, %v", regions, err)
	}
	if late := regions[0]; late.Err == nil || late.Err.Error() != "timed out: AWS gave no answer within the time for this query" || late.Calls != 1 {
		t.Errorf("the late Region: %v after %d calls", late.Err, late.Calls)
	}
}

// An answer that says that there is more, but not where, is a part.
func TestMoreWithoutATokenIsMore(t *testing.T) {
	t.Parallel()
	paged := operation
	paged.Pagination = &bridge.Pagination{Input: []string{"NextToken"}, Output: []string{"NextToken"}, MoreResults: "Truncated", Results: []string{"Reservations"}}
	ask := bridge.Ask{Operation: paged, Params: json.RawMessage(`{}`), Regions: []string{"us-east-1"}}
	for name, c := range map[string]struct {
		pages []any
		more  bool
	}{
		"at once":         {[]any{map[string]any{"Reservations": []any{1}, "Truncated": true}}, true},
		"later":           {[]any{map[string]any{"Reservations": []any{1}, "Truncated": true, "NextToken": "1"}, map[string]any{"Reservations": []any{2}, "Truncated": true}}, true},
		"there is none":   {[]any{map[string]any{"Reservations": []any{1}, "Truncated": false, "NextToken": "1"}}, false},
		"nothing is said": {[]any{map[string]any{"Reservations": []any{1}}}, false},
	} {
		regions, _, err := Parse(python(t, ask, told{Pages: c.pages}).Value, ask, func(text string) error { return errors.New(text) })
		if err != nil || len(regions) != 1 || regions[0].Err != nil || regions[0].More != c.more {
			t.Errorf("%s: %+v, %v", name, regions, err)
		}
	}
}

// TestEndlessPagesEnd guards against an operation that gives the same token for ever, and one whose
// tokens never end.
func TestEndlessPagesEnd(t *testing.T) {
	t.Parallel()
	ask := bridge.Ask{Operation: operation, Params: json.RawMessage(`{}`), Regions: []string{"us-east-1"}}
	got := python(t, ask, told{Pages: []any{map[string]any{"Reservations": []any{1}, "NextToken": "0"}}})
	regions, _, err := Parse(got.Value, ask, func(text string) error { return errors.New(text) })
	if err != nil || len(regions) != 1 || !regions[0].More || len(got.Calls) > MaxPages {
		t.Errorf("regions %+v, %d calls, %v", regions, len(got.Calls), err)
	}
}

func FuzzQuote(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := json.Marshal(map[string]string{"v": text})
		if err != nil {
			t.Fatal(err)
		}
		literal := Quote(raw)
		inner := literal[1 : len(literal)-1]
		if strings.Trim(inner, "\x20\x21\x22\x23\x24\x25\x26\x27()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
			t.Fatalf("not printable ASCII: %q", literal)
		}
		var unescaped strings.Builder
		for i := 0; i < len(inner); i++ {
			if inner[i] == '"' {
				t.Fatalf("a bare quote at %d in %s", i, literal)
			}
			if inner[i] == '\\' {
				i++
				if i == len(inner) || inner[i] != '\\' && inner[i] != '"' {
					t.Fatalf("an escape that Python may read otherwise in %s", literal)
				}
			}
			unescaped.WriteByte(inner[i])
		}
		var got, want map[string]string
		if json.Unmarshal([]byte(unescaped.String()), &got) != nil || json.Unmarshal(raw, &want) != nil || got["v"] != want["v"] {
			t.Fatalf("%q became %q", want["v"], got["v"])
		}
	})
}
