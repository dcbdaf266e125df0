package agentcore

import (
	"errors"
	"fmt"
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
