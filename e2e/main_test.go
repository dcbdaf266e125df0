package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/internal/product"
	"github.com/central-ops/central-ops/e2e/local"
)

// live is the Pulumi stack that the stories run on; "" means the local platform.
var live = os.Getenv("E2E_STACK")

// The stories share one platform; a story that needs another configuration starts its own.
var (
	binaries string // folder with the product's binaries, built from this tree
	shared   = sync.OnceValues(func() (*local.Platform, error) { return local.Start(context.Background(), options()) })
	started  atomic.Bool
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "central-ops-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	if live != "" {
		if _, err := deployed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}
	if err := product.Build("..", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if started.Load() {
			if platform, err := shared(); err == nil {
				platform.Close()
				if strays := platform.Strays(); len(strays) > 0 {
					fmt.Fprintf(os.Stderr, "the product tried to reach %s\n", strings.Join(strays, ", "))
					status = 1
				}
			}
		}
	}()
	return m.Run()
}

func options() local.Options {
	python, err := filepath.Abs("../.venv/bin/python")
	if err != nil {
		panic(err) // the working directory is gone
	}
	return local.Options{Binaries: binaries, Tools: "../services/bridge/tools.json", Python: python}
}

// onlyLocal skips a test of what no deployed stack lets anybody do.
func onlyLocal(t *testing.T) {
	t.Helper()
	if live != "" {
		t.Skipf("not on stack %s: it breaks or looks into parts that only the local platform opens", live)
	}
}

// platform returns the platform that all stories share.
func platform(t *testing.T) *local.Platform {
	t.Helper()
	onlyLocal(t)
	started.Store(true)
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// startOwn starts a platform for one test.
func startOwn(t *testing.T, o local.Options) *local.Platform {
	t.Helper()
	onlyLocal(t)
	p, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		checkStrays(t, p)
	})
	return p
}

// checkStrays fails the test if the product tried to reach a host outside of this machine.
func checkStrays(t *testing.T, p *local.Platform) {
	t.Helper()
	if strays := p.Strays(); len(strays) > 0 {
		t.Errorf("the product tried to reach %s", strings.Join(strays, ", "))
	}
}

func signIn(t *testing.T, p *local.Platform, user string) e2e.Tokens {
	t.Helper()
	tokens, err := p.Stack.SignIn(t.Context(), user, p.Passwords[user])
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// ask asks in a new session, which it ends, and fails the test if the Runtime refuses the request.
func ask(t *testing.T, p *local.Platform, user, prompt string) e2e.Answer {
	t.Helper()
	return askIn(t, p.Stack, signIn(t, p, user).Access, prompt)
}

func askIn(t *testing.T, stack e2e.Stack, token, prompt string) e2e.Answer {
	t.Helper()
	answer, err := stack.Ask(t.Context(), token, "", prompt)
	if err != nil {
		t.Fatal(err)
	}
	if answer.SessionID != "" {
		if err := stack.Stop(t.Context(), token, answer.SessionID); err != nil {
			t.Error(err)
		}
	}
	return answer
}

// toolAnswer is the bridge's envelope.
type toolAnswer struct {
	OK       bool         `json:"ok"`
	Coverage e2e.Coverage `json:"coverage"`
	Results  []struct {
		AccountID   string            `json:"account_id"`
		AccountName string            `json:"account_name"`
		Region      string            `json:"region"`
		Status      string            `json:"status"`
		Count       int               `json:"count"`
		Data        []json.RawMessage `json:"data"`
		Receipt     *e2e.Receipt      `json:"receipt"`
		Error       *e2e.Fault        `json:"error"`
	} `json:"results"`
	Accounts []struct{ ID, Name, Environment string } `json:"accounts"`
	Notes    []string                                 `json:"notes"`
	Error    *e2e.Fault                               `json:"error"`
}

// decodeTool takes the bridge's envelope out of a tools/call answer of the Gateway.
func decodeTool(t *testing.T, reply e2e.Reply) toolAnswer {
	t.Helper()
	var message struct {
		Result struct {
			IsError bool                    `json:"isError"`
			Content []struct{ Text string } `json:"content"`
		} `json:"result"`
	}
	if err := json.Unmarshal(reply.Body, &message); err != nil || len(message.Result.Content) != 1 {
		t.Fatalf("the Gateway answered %d %s (%v)", reply.Status, reply.Body, err)
	}
	var answer toolAnswer
	if err := json.Unmarshal([]byte(message.Result.Content[0].Text), &answer); err != nil {
		t.Fatalf("the tool answered %s: %v", message.Result.Content[0].Text, err)
	}
	return answer
}
