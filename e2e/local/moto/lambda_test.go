package moto_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/moto"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
	"github.com/central-ops/central-ops/e2e/local/seed"
	"github.com/google/go-cmp/cmp"
)

func TestLambdaReadsTheVersionOfAnAlias(t *testing.T) {
	t.Parallel()
	python := motoenv.Python(t)
	server, err := moto.Start(t.Context(), moto.Config{Python: python})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := seed.Run(t.Context(), seed.Config{
		Python: python, Endpoint: server.URL, Resources: true, Accounts: []seed.Account{{ID: "111111111111", Environment: "shared"}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, request := range []struct{ path, body string }{
		{"/versions", `{}`}, {"/aliases", `{"Name":"live","FunctionVersion":"1"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/2015-03-31/functions/cost-report"+request.path, strings.NewReader(request.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=none")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", request.path, resp.Status)
		}
	}
	functions := moto.Lambda{Endpoint: server.URL, Account: "111111111111", Region: "us-east-1"}
	got, err := functions.Function(t.Context(), "cost-report", "live")
	if err != nil {
		t.Fatal(err)
	}
	want := moto.Function{Name: "cost-report", Role: "arn:aws:iam::111111111111:role/application-functions", Timeout: 3, MemorySize: 128}
	want.Environment.Variables = map[string]string{"LOG_LEVEL": "INFO"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Function mismatch (-want +got):\n%s", diff)
	}
	if _, err := functions.Function(t.Context(), "cost-report", "canary"); err == nil || !strings.Contains(err.Error(), "canary") {
		t.Errorf("an alias that is not there: %v, want an error that names it", err)
	}
}
