package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/usage.ct")

// TestTranscripts runs each command of testdata/usage.ct and compares what it prints and its exit status. None of them
// gets as far as a request.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "usage.ct")
	var got strings.Builder
	for _, row := range []struct{ args, stdin string }{
		{"-h", ""},
		{"", ""},
		{"gateway", ""},
		{"bucket apply", ""},
		{"gateway create", ""},
		{"gateway apply -colour", ""},
		{"gateway apply spec.json", ""},
		{"gateway apply -region=", "{}"},
		{"gateway apply", `{"name":"tools","foo":1}`},
		{"gateway apply", `{} {}`},
		{"gateway apply", `{"name":"tools_dev","roleArn":"x","authorizer":{"discoveryUrl":"https://x"}}`},
		{"target apply", `{"name":"bridge","gatewayId":"g","lambdaArn":"f"}`},
		{"target apply", `{"name":"a-target-with-a-rather-long-name-that-leaves-little-room-for-tools","gatewayId":"g","lambdaArn":"f","tools":[{"name":"query"}]}`},
		{"runtime apply", `{"name":"has-hyphens","roleArn":"arn:aws:iam::111111111111:role/r","imageUri":"repository:latest","authorizer":{"discoveryUrl":"https://x/.well-known/openid-configuration","allowedClients":["c"]},"idleTimeoutSeconds":900,"maxLifetimeSeconds":10}`},
		{"endpoint apply", `{"name":"DEFAULT","runtimeId":"r","version":"1"}`},
		{"provider apply", `{}`},
		{"image apply", `{"binary":"no-such-file","repository":"r","digest":"sha256:0"}`},
	} {
		var stdout, stderr bytes.Buffer
		getenv := func(key string) string { return map[string]string{"AWS_REGION": "us-east-1"}[key] }
		status := run(t.Context(), strings.Fields(row.args), getenv, strings.NewReader(row.stdin), &stdout, &stderr)
		fmt.Fprintf(&got, "$ agentcorectl %s <<<'%s'\n%s%s", row.args, row.stdin, stdout.String(), stderr.String())
		if status != 0 {
			fmt.Fprintf(&got, "--> FAIL %d\n", status)
		}
		got.WriteByte('\n')
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("transcript mismatch (-want +got):\n%s", diff)
	}
}
