// Package pulumi_test deploys both Pulumi projects with the true engine to local servers: the emulator for what it has,
// the AgentCore front for gateways and runtimes, and a container registry. It is the proof that one up makes an
// environment, that a second one has nothing to do, and that destroy leaves nothing.
//
// It needs pulumi with the aws and command plugins on PATH, and says so when it is not.
package pulumi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/controlplane"
	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/google/go-containerregistry/pkg/registry"
)

const central = "111111111111"

// box is a copy of the tree with a Pulumi backend and servers of its own.
type box struct {
	root, project string // project is the folder that pulumi runs in
	env           []string
	emulator      *moto.Server
	front         *controlplane.Server
}

// open starts the servers and copies what the projects read, so that no stack file or build of the tree is touched.
func open(t *testing.T) *box {
	t.Helper()
	if os.Getenv("E2E_PULUMI") == "" {
		t.Skip("takes minutes: make e2e-pulumi runs it (E2E_PULUMI=1)")
	}
	if _, err := exec.LookPath("pulumi"); err != nil {
		t.Skip("pulumi is not on PATH: install it with the plugins aws and command, or put a build of both there")
	}
	emulator, err := moto.Start(t.Context(), moto.Config{Python: motoenv.Python(t), DefaultAccount: central, LoadManagedPolicies: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(emulator.Close)
	front := controlplane.New(controlplane.Config{Account: central})
	control := httptest.NewServer(front)
	t.Cleanup(control.Close)
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(images.Close)

	root := t.TempDir()
	for _, name := range []string{"infra", "services", "Pulumi.yaml", "go.work"} {
		if text, err := exec.Command("cp", "-R", filepath.Join("..", "..", name), root).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v: %s", name, err, text)
		}
	}
	state := filepath.Join(root, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &box{root: root, project: root, emulator: emulator, front: front}
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(key, "AWS_") && key != "GOFLAGS" {
			b.env = append(b.env, entry)
		}
	}
	b.env = append(b.env,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ENDPOINT_URL="+emulator.URL, "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL="+control.URL,
		"AGENTCORECTL_REGISTRY="+strings.TrimPrefix(images.URL, "http://"),
		"PULUMI_BACKEND_URL=file://"+state, "PULUMI_CONFIG_PASSPHRASE=test", "PULUMI_SKIP_UPDATE_CHECK=true",
	)
	return b
}

func (b *box) pulumi(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pulumi", append(args, "--non-interactive")...)
	cmd.Dir, cmd.Env = b.project, b.env
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	if err := cmd.Run(); err != nil {
		t.Fatalf("pulumi %s: %v\n%s\n%s", strings.Join(args, " "), err, tail(out.String()), tail(diagnostics.String()))
	}
	return out.String()
}

// tail is the end of a long output, where Pulumi's diagnostics are.
func tail(s string) string { return s[max(0, len(s)-6000):] }

func (b *box) set(t *testing.T, key, value string) {
	t.Helper()
	b.pulumi(t, "config", "set", key, value)
}

// services is what both projects need of the emulator, as the AWS provider names it.
var services = []string{"budgets", "cloudformation", "cloudwatch", "cognitoidp", "dynamodb", "ecr", "iam", "kms", "lambda", "logs", "organizations", "sns", "ssm", "sts"}

// stack makes a stack whose AWS provider speaks to endpoint, for the services and for others besides.
func (b *box) stack(t *testing.T, name, endpoint string, others ...string) {
	t.Helper()
	b.pulumi(t, "stack", "init", name)
	list := map[string]string{}
	for _, service := range append(slices.Clone(services), others...) {
		list[service] = endpoint
	}
	text, err := json.Marshal([]any{list})
	if err != nil {
		t.Fatal(err)
	}
	b.set(t, "aws:endpoints", string(text))
	b.set(t, "aws:region", "us-east-1")
	b.set(t, "aws:maxRetries", "3") // the emulator fails a call now and then under load
}

func (b *box) endpoint() string {
	for _, entry := range b.env {
		if value, ok := strings.CutPrefix(entry, "AWS_ENDPOINT_URL="); ok {
			return value
		}
	}
	return ""
}
