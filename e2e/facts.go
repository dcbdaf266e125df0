package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Facts is what the stories know about an environment besides its outputs. Those of the sample environment are in
// testdata/sample.json; for a deployed one they are a file of the same form, see docs/live-stories.md. What is left out is
// not asked, or held to its form alone: coverage adds up, receipts name the role and the person.
type Facts struct {
	Ops       Person    `json:"ops"`                // may query every one of Accounts
	Viewer    Person    `json:"viewer"`             // may query those of Accounts that say so, and no other
	Accounts  []Account `json:"accounts"`           // all accounts of the environment
	Regions   []string  `json:"regions"`            // two that the accounts use; the first is the bridge's own
	Marks     []string  `json:"marks,omitempty"`    // words that every answer holds
	Addresses Stack     `json:"addresses,omitzero"` // where not "", what is used instead of the outputs
}

// Person is somebody who can sign in. The password never stands in a file of this tree.
type Person struct {
	Username string `json:"username"`
	Password string `json:"password,omitempty"`
}

// Account is an account of the environment and what is known to be in it.
type Account struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Environment string              `json:"environment"`
	Viewer      bool                `json:"viewer,omitempty"`      // Facts.Viewer may query it
	Unreachable bool                `json:"unreachable,omitempty"` // its target role can't be assumed, so that answers are partial
	Instances   map[string][]string `json:"instances,omitempty"`   // names of all EC2 instances, by Region; nil: unknown
}

// ReadFacts reads facts and checks them; it reports every fault at once. Passwords in variables, E2E_OPS_PASSWORD and
// E2E_VIEWER_PASSWORD, win over those in the file.
func ReadFacts(path string, getenv func(string) string) (Facts, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Facts{}, fmt.Errorf("read facts: %w\n  try: write the file as docs/live-stories.md shows", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var f Facts
	if err := decoder.Decode(&f); err != nil {
		return Facts{}, fmt.Errorf("read facts: %s: %w", path, err)
	}
	for variable, person := range map[string]*Person{"E2E_OPS_PASSWORD": &f.Ops, "E2E_VIEWER_PASSWORD": &f.Viewer} {
		if password := getenv(variable); password != "" {
			person.Password = password
		}
	}
	var faults []error
	if f.Ops.Username == "" || f.Ops.Password == "" {
		faults = append(faults, errors.New("ops: needs a username, and a password here or in E2E_OPS_PASSWORD"))
	}
	if (f.Viewer.Username == "") != (f.Viewer.Password == "") {
		faults = append(faults, errors.New("viewer: needs both a username and a password, here or in E2E_VIEWER_PASSWORD, or neither"))
	}
	if len(f.Accounts) == 0 || f.Accounts[0].ID == "" || f.Accounts[0].Name == "" {
		faults = append(faults, errors.New("accounts: must list every account with id and name"))
	}
	if len(f.Regions) != 2 {
		faults = append(faults, fmt.Errorf("regions: want two, the bridge's own first: got %q", f.Regions))
	}
	if err := errors.Join(faults...); err != nil {
		return Facts{}, fmt.Errorf("read facts: %s:\n%w", path, err)
	}
	return f, nil
}

// ReadStack makes a Stack of the outputs of a Pulumi stack of the project in dir, which docs/deploy.md lists.
func ReadStack(ctx context.Context, dir, name string) (Stack, error) {
	command := exec.CommandContext(ctx, "pulumi", "stack", "output", "--json", "--stack", name, "--non-interactive")
	command.Dir = dir
	text, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
		}
		return Stack{}, fmt.Errorf("read the outputs of stack %s: %w", name, err)
	}
	return ParseStack(name, text)
}

// ParseStack makes a Stack of the outputs of the stack of that name: a JSON object of strings.
func ParseStack(name string, text []byte) (Stack, error) {
	var outputs map[string]string
	if err := json.Unmarshal(text, &outputs); err != nil {
		return Stack{}, fmt.Errorf("read the outputs of stack %s: %w", name, err)
	}
	s := Stack{Name: name}
	var faults []error
	for output, field := range map[string]*string{
		"region": &s.Region, "userPoolId": &s.UserPoolID, "userPoolClientId": &s.ClientID, "hostedUiUrl": &s.HostedUI, "runtimeUrl": &s.RuntimeURL, "runtimeArn": &s.RuntimeARN,
		"runtimeQualifier": &s.Qualifier, "gatewayUrl": &s.GatewayURL, "gatewayAuth": &s.GatewayAuth, "discoveryUrl": &s.DiscoveryURL, "mcpEndpoint": &s.MCPEndpoint,
		"targetRoleName": &s.TargetRole,
	} {
		if *field = outputs[output]; *field == "" {
			faults = append(faults, fmt.Errorf("read the outputs of stack %s: output %s: is missing", name, output))
		}
	}
	return s, errors.Join(faults...)
}

// At returns the stack with the addresses that are not "" in its place.
func (s Stack) At(addresses Stack) Stack {
	for _, each := range []struct{ field, value *string }{
		{&s.CognitoEndpoint, &addresses.CognitoEndpoint}, {&s.HostedUI, &addresses.HostedUI}, {&s.RuntimeURL, &addresses.RuntimeURL}, {&s.GatewayURL, &addresses.GatewayURL},
		{&s.DiscoveryURL, &addresses.DiscoveryURL}, {&s.MCPEndpoint, &addresses.MCPEndpoint},
	} {
		if *each.value != "" {
			*each.field = *each.value
		}
	}
	return s
}
