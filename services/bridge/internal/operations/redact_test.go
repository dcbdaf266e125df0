package operations

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestRedact reads testdata/redact/*.json: an answer, what must come out of it, and how many
// fields were taken out.
func TestRedact(t *testing.T) {
	t.Parallel()
	tb := Load()
	paths, err := filepath.Glob("testdata/redact/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var cases []struct {
				Name, Service, Operation string
				Answer, Want             any
				Fields                   int
			}
			if err := json.Unmarshal(text, &cases); err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				before := encode(t, c.Answer)
				got, fields := tb.Redact(c.Service, c.Operation, c.Answer)
				if !reflect.DeepEqual(got, c.Want) || fields != c.Fields {
					t.Errorf("%s: got %d fields, want %d\n got %s\nwant %s", c.Name, fields, c.Fields, encode(t, got), encode(t, c.Want))
				}
				if after := encode(t, c.Answer); after != before {
					t.Errorf("%s: the answer itself was changed", c.Name)
				}
				if again, more := tb.Redact(c.Service, c.Operation, got); more != 0 || !reflect.DeepEqual(again, got) {
					t.Errorf("%s: a second pass takes out %d more: %s", c.Name, more, encode(t, again))
				}
			}
		})
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func FuzzRedact(f *testing.F) {
	tb := Load()
	for _, s := range []string{
		`{"Environment":{"Variables":{"A":"b"}}}`, `[[["x"]]]`, `null`, `"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"`,
		`{"a":"{\"password\":\"x\"}"}`, `{"UserData":{"Value":"IyE="}}`, `{"":{"":""}}`, `"https://u:secret@h/?X-Amz-Signature=00"`,
	} {
		f.Add("lambda", "GetFunctionConfiguration", s)
		f.Add("ec2", "DescribeInstances", s)
	}
	f.Fuzz(func(t *testing.T, service, operation, text string) {
		var doc any
		if json.Unmarshal([]byte(text), &doc) != nil {
			return
		}
		out, fields := tb.Redact(service, operation, doc)
		if fields == 0 && !reflect.DeepEqual(out, doc) {
			t.Errorf("changed without saying so: %q became %v", text, out)
		}
		if _, more := tb.Redact(service, operation, out); more != 0 {
			t.Errorf("a second pass takes out %d more of %v", more, out)
		}
	})
}

func TestSecretName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"masteruserpassword": true, "pwd": true, "db_pwd": true, "psk": true, "wifi-psk": true, "secretaccesskey": true, "secret_key": true,
		"dbpwd": false, "cwdpsk": false, "nexttoken": false, "passwordlastused": false, "keyid": false, "secretarn": false, "": false,
	} {
		if got := secretName(name); got != want {
			t.Errorf("secretName(%q) = %v, want %v", name, got, want)
		}
	}
}

// TestHintsHoldForEveryForm guards the shortcut before the expressions: a text that one of them
// matches must pass its hints.
func TestHintsHoldForEveryForm(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"PassWord = hunter2hunter2", "pa\u017f\u017fword=hunter2hunter2", "PASSWD:hunter2hunter2", "pwd=hunter2hunter2", "secretAccessKey: hunter2hunter2",
		"aws_session_token=hunter2hunter2", "AWS_SESSION_TO\u212aEN=hunter2hunter2", "client\u017fecret=hunter2hunter2", "authtoken=hunter2hunter2",
		"ACCESS_TOKEN=hunter2hunter2", "api_key=hunter2hunter2", "ApiKey: hunter2hunter2",
	} {
		if got, n := Load().Redact("none", "None", map[string]any{"Text": text}); n != 1 || strings.Contains(encode(t, got), "hunter2") {
			t.Errorf("%s: %d fields, %v", text, n, got)
		}
	}
}

// TestMembersAreBounded: names that are data, as the keys of a map of tags, do not pile up.
func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	table := Load()
	tags := map[string]any{}
	for i := range 2 * maxMembers {
		tags[fmt.Sprintf("tag-%d", i)] = "x"
	}
	tags["Password"] = "hunter2"
	got, fields := table.Redact("lambda", "ListTags", map[string]any{"Tags": tags})
	if n := len(table.services[table.index().byName["lambda"]]().members.byName); n > maxMembers {
		t.Errorf("%d names are kept, at most %d should be", n, maxMembers)
	}
	if fields != 1 || got.(map[string]any)["Tags"].(map[string]any)["Password"] != Redacted {
		t.Errorf("%d fields redacted, want the password", fields)
	}
}
