// Package command makes the command resources of the program, and is the only one that does.
//
// A command resource runs agentcorectl. Its command line is constant, because it is quoted when it fails; the
// specification travels on stdin, and what has to cause an update in place is in there. Triggers replace, so that they hold
// what makes it another resource, and nothing else: agentcorectl finds a resource by its name, and an update to another name
// would leave the old one behind.
// The program is run from source, so that a destroy on a clean clone finds it.
package command

import (
	"encoding/json"
	"fmt"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args describes one resource of agentcorectl.
type Args struct {
	Kind  string       // gateway, target, runtime, endpoint, provider, image
	Place policy.Place // where it lives; credentials of another account are refused
	// Identity is the names that make it this resource: its own, and that of what it belongs to. Names and not ids, because
	// a preview does not know the id of what an update touches, and would show a replacement.
	Identity []string
	Spec     pulumi.Map // its specification; see the types of internal/agentcore. Nothing secret.
}

// Resource is a resource that agentcorectl keeps.
type Resource struct {
	*local.Command
}

// New declares the resource under parent.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Resource, error) {
	line := func(verb string) pulumi.StringInput {
		return pulumi.Sprintf("GOWORK=off go run ./cmd/agentcorectl %s %s -account %s", args.Kind, verb, args.Place.Account)
	}
	triggers := pulumi.Array{pulumi.String(args.Place.Account), pulumi.String(args.Place.Region)}
	for _, part := range args.Identity {
		triggers = append(triggers, pulumi.String(part))
	}
	stdin := pulumi.JSONMarshal(args.Spec)
	c, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create: line("apply"), Update: line("apply"), Delete: line("delete"), Stdin: stdin, Triggers: triggers,
		Environment: pulumi.StringMap{"AWS_REGION": pulumi.String(args.Place.Region)},
		Logging:     local.LoggingStderr.ToLoggingPtrOutput(),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("declare %s %s: %w", args.Kind, name, err)
	}
	return &Resource{c}, nil
}

// Field is one member of the JSON object that agentcorectl printed.
func (r *Resource) Field(name string) pulumi.StringOutput {
	return r.Stdout.ApplyT(func(text string) (string, error) {
		var answer map[string]string
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return "", fmt.Errorf("agentcorectl printed no JSON object: %w", err)
		}
		return answer[name], nil
	}).(pulumi.StringOutput)
}
