// Package seed fills a moto server with what the local platform starts with: people, roles and resources in three
// accounts. The work is done by seed.py, which runs in the same Python as moto.
package seed

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

//go:embed seed.py
var program string

// Config says what to make. Python, Endpoint, Accounts and Users are required.
type Config struct {
	Python string `json:"-"` // interpreter that has the packages of requirements.txt

	Endpoint       string    `json:"endpoint"`        // moto's URL
	CentralAccount string    `json:"central_account"` // "" means the first of Accounts
	OrganizationID string    `json:"organization_id"` // "" means o-centralops0
	Regions        []string  `json:"regions"`         // home Region and second one; nil means us-east-1 and eu-west-1
	Accounts       []Account `json:"accounts"`        // each gets the target role

	TargetRoleName string `json:"target_role_name"` // "" means CentralOpsTargetRole
	BridgeRoleName string `json:"bridge_role_name"` // "" means central-ops-bridge
	ExternalID     string `json:"external_id"`      // "" leaves the condition out of the trust policies

	SessionTable    string `json:"session_table"`     // "" means central-ops-sessions
	SessionTableKey string `json:"session_table_key"` // partition key, a string; "" means pk

	Groups []string `json:"groups"` // made besides those of Users; nil means ops, prod-readers and viewers
	Users  []User   `json:"users"`

	// UserPoolID is the pool of an environment that is there already, with its roles and tables: only people, in groups that
	// the pool has, and resources are made. "" makes an environment.
	UserPoolID string `json:"user_pool_id"`

	// Resources makes the sample instances, buckets, functions, databases and security groups.
	// Without it the accounts hold roles only.
	Resources bool `json:"resources"`
}

// Account is one account to fill. Environment is shared, prod or staging and chooses the sample resources.
type Account struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Environment string `json:"environment"`
}

// User is a person in the user pool.
type User struct {
	Username string   `json:"username"`
	Email    string   `json:"email"` // "" means <username>@example.com
	Password string   `json:"password"`
	Groups   []string `json:"groups"`
}

// Result is what was made.
type Result struct {
	UserPoolID    string            `json:"user_pool_id"`
	ClientID      string            `json:"client_id"`       // as the one that infra deploys for people
	OtherClientID string            `json:"other_client_id"` // of another application of the same pool: its tokens must be refused
	Subjects      map[string]string `json:"subjects"`        // sub of each user name

	BridgeRoleARN   string            `json:"bridge_role_arn"`
	ServiceRoleARNs map[string]string `json:"service_role_arns"` // interceptor, agent and gateway
	TargetRoleARNs  map[string]string `json:"target_role_arns"`  // by account id
	SessionTableARN string            `json:"session_table_arn"`
}

// Run fills the moto server at c.Endpoint, which must be empty but for the environment of c.UserPoolID, and returns what it made.
// Passwords travel by standard input, never in arguments or the environment.
func Run(ctx context.Context, c Config) (Result, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Result{}, err
	}
	input, err := json.Marshal(c)
	if err != nil {
		return Result{}, fmt.Errorf("seed moto: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.Python, "-I", "-c", program)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "NO_PROXY=*"}
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return Result{}, fmt.Errorf("seed moto: %s: %w: %s", c.Endpoint, err, lines[len(lines)-1])
	}
	var result Result
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return Result{}, fmt.Errorf("seed moto: %s: internal: unexpected answer of the seeding program: %w", c.Endpoint, err)
	}
	return result, nil
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	if c.Python == "" {
		faults = append(faults, errors.New("seed moto: invalid: no Python interpreter given"))
	}
	if c.Endpoint == "" {
		faults = append(faults, errors.New("seed moto: invalid: no endpoint given"))
	}
	if len(c.Accounts) == 0 {
		faults = append(faults, errors.New("seed moto: invalid: no accounts given"))
	}
	if len(c.Regions) == 0 {
		c.Regions = []string{"us-east-1", "eu-west-1"}
	}
	if len(c.Regions) != 2 {
		faults = append(faults, fmt.Errorf("seed moto: invalid: want a home Region and a second one, got %d Regions", len(c.Regions)))
	}
	if err := errors.Join(faults...); err != nil {
		return Config{}, err
	}
	for field, otherwise := range map[*string]string{
		&c.CentralAccount:  c.Accounts[0].ID,
		&c.OrganizationID:  "o-centralops0",
		&c.TargetRoleName:  "CentralOpsTargetRole",
		&c.BridgeRoleName:  "central-ops-bridge",
		&c.SessionTable:    "central-ops-sessions",
		&c.SessionTableKey: "pk",
	} {
		if *field == "" {
			*field = otherwise
		}
	}
	if c.Groups == nil {
		c.Groups = []string{"ops", "prod-readers", "viewers"}
	}
	users := make([]User, len(c.Users))
	for i, u := range c.Users {
		if u.Email == "" {
			u.Email = u.Username + "@example.com"
		}
		if u.Groups == nil {
			u.Groups = []string{}
		}
		users[i] = u
	}
	c.Users = users
	return c, nil
}
