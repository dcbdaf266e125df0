package agentcore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"

	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
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

// TestCarry names the members of each update that are not carried over from what was read. A new version of the SDK that adds
// one has to be looked at.
func TestCarry(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		update, read any
		want         []string
	}{
		"gateway": {&control.UpdateGatewayInput{}, &control.GetGatewayOutput{}, []string{"GatewayIdentifier"}},
		"target":  {&control.UpdateGatewayTargetInput{}, &control.GetGatewayTargetOutput{}, []string{"GatewayIdentifier"}},
		"runtime": {&control.UpdateAgentRuntimeInput{}, &control.GetAgentRuntimeOutput{}, []string{"ClientToken"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := reflect.ValueOf(row.read).Elem()
			for i := range read.NumField() {
				// Something that is not zero; members of an interface's type stay nil, their types are compared below.
				switch field := read.Field(i); {
				case !read.Type().Field(i).IsExported():
				case field.Kind() == reflect.Pointer:
					field.Set(reflect.New(field.Type().Elem()))
				case field.Kind() == reflect.Slice:
					field.Set(reflect.MakeSlice(field.Type(), 1, 1))
				case field.Kind() == reflect.Map:
					field.Set(reflect.MakeMap(field.Type()))
				case field.Kind() == reflect.String:
					field.SetString("x")
				}
			}
			carry(row.update, row.read)
			var left []string
			update := reflect.ValueOf(row.update).Elem()
			for i := range update.NumField() {
				field := update.Type().Field(i)
				if !field.IsExported() || !update.Field(i).IsZero() {
					continue
				}
				if value := read.FieldByName(field.Name); field.Type.Kind() == reflect.Interface && value.IsValid() && value.Type() == field.Type {
					continue
				}
				left = append(left, field.Name)
			}
			if diff := cmp.Diff(row.want, left); diff != "" {
				t.Errorf("not carried (-want +got):\n%s", diff)
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
