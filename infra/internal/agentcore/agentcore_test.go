package agentcore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/aws/smithy-go"
)

// TestPropagating tells the refusals that end by themselves, once IAM has spread a role, from those that never do.
func TestPropagating(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"rights of the gateway's role": {&smithy.GenericAPIError{Code: "ValidationException", Message: "Gateway execution role lacks permission to invoke Lambda function"}, true},
		"trust of the runtime's role":  {&smithy.GenericAPIError{Code: "ValidationException", Message: "Role validation failed for 'arn:aws:iam::111111111111:role/r'"}, true},
		"a role that is not known yet": {&smithy.GenericAPIError{Code: "ValidationException", Message: "The role cannot be assumed by the service"}, true},
		"the registry":                 {&smithy.GenericAPIError{Code: "ValidationException", Message: "Access denied while validating ECR URI"}, true},
		"wrapped":                      {fmt.Errorf("apply: %w", &smithy.GenericAPIError{Code: "ValidationException", Message: "lacks permission"}), true},
		"a wrong name":                 {&smithy.GenericAPIError{Code: "ValidationException", Message: "Value at 'name' failed to satisfy constraint"}, false},
		"the deployer's own rights":    {&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "ada lacks permission"}, false},
		"no answer of the service":     {errors.New("lacks permission"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := propagating(row.err); got != row.want {
				t.Errorf("propagating(%v) = %v, want %v", row.err, got, row.want)
			}
		})
	}
}

// TestDeployerMayCall compares the operations that this package calls with the deployer's policy: AgentCore names its IAM
// actions as its operations.
func TestDeployerMayCall(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/deployer-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct {
			Sid    string
			Action json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, s := range policy.Statement {
		if s.Sid == "AgentCore" {
			if err := json.Unmarshal(s.Action, &patterns); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob("[a-z]*.go")
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`c\.api\.([A-Z]\w+)\(|control\.New(\w+)Paginator\(`).FindAllStringSubmatch(string(source), -1) {
			called[match[1]+match[2]] = true
		}
	}
	if len(called) < 20 {
		t.Errorf("only %d operations are found in the source", len(called))
	}
	for operation := range called {
		if !slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, "bedrock-agentcore:"+operation)
			return err == nil && ok
		}) {
			t.Errorf("docs/deployer-policy.json does not allow bedrock-agentcore:%s", operation)
		}
	}
}
