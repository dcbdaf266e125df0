// Package ask asks one member account: it assumes the target role, runs the script as that role,
// and reads what came back, once more with fresh credentials if the first have expired.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/central-ops/central-ops/services/bridge"
	"github.com/central-ops/central-ops/services/bridge/internal/script"
)

// Roles gets role sessions.
type Roles interface {
	// Assume returns a role session capped by policy, and even with an error, which carries a code,
	// its names.
	Assume(ctx context.Context, person bridge.Person, account bridge.AccountID, policy string) (bridge.RoleSession, error)
	// Forget makes the next Assume ask for new credentials.
	Forget(session bridge.RoleSession)
}

// Call is an AWS API call that was made; Region is "" if that isn't known.
type Call struct {
	Operation string // "service:Operation"
	Region    string
}

// Sandbox runs scripts.
type Sandbox interface {
	// Run runs code as role and returns the script's value and the AWS API calls that the server
	// says it made. expired says that the credentials were refused and new ones may do.
	Run(ctx context.Context, role bridge.RoleSession, region, code string) (value json.RawMessage, calls []Call, expired bool, err error)
	// Classify returns the error that an exception's text stands for, and whether it is one of
	// expired credentials.
	Classify(text string, account bridge.AccountID) (err error, expired bool)
}

// Asker asks accounts. It is safe for concurrent use.
type Asker struct {
	roles   Roles
	sandbox Sandbox
	logger  *slog.Logger
}

var _ bridge.Asker = (*Asker)(nil)

// New returns an Asker.
func New(roles Roles, sandbox Sandbox, logger *slog.Logger) *Asker {
	return &Asker{roles, sandbox, logger}
}

// margin is what the script leaves of an account's time for its answer to travel.
const margin = time.Second

// Ask implements bridge.Asker.
func (a *Asker) Ask(ctx context.Context, person bridge.Person, account bridge.Account, ask bridge.Ask) (bridge.Report, error) {
	report, expired, err := a.once(ctx, person, account, ask)
	if expired && ctx.Err() == nil {
		a.logger.WarnContext(ctx, "credentials refused, assuming again", "account", account.ID)
		report, _, err = a.once(ctx, person, account, ask)
	}
	if err != nil && bridge.CodeOf(err) == bridge.Internal && ctx.Err() == nil { // whoever asked is told that the log has the cause
		a.logger.ErrorContext(ctx, "account not asked", "account", account.ID, "error", err)
	}
	return report, err
}

func (a *Asker) once(ctx context.Context, person bridge.Person, account bridge.Account, ask bridge.Ask) (report bridge.Report, expired bool, err error) {
	role, err := a.roles.Assume(ctx, person, account.ID, ask.Operation.SessionPolicy)
	report = bridge.Report{RoleARN: role.RoleARN, SourceIdentity: role.SourceIdentity}
	if err != nil {
		return report, false, err
	}
	within := 25 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		remaining := time.Until(deadline)
		within = max(remaining-margin, remaining/2)
	}
	code, err := script.Build(ask, within)
	if err != nil {
		return report, false, &bridge.Error{Op: "write script", Account: account.ID, Code: bridge.Internal, Err: err}
	}
	region := script.Region(ask, ask.Regions[0])
	value, calls, expired, err := a.sandbox.Run(ctx, role, region, code)
	if expired {
		a.roles.Forget(role)
	}
	if err != nil {
		return report, expired, err
	}
	report.Regions, report.Enabled, err = script.Parse(value, ask, func(text string) error {
		err, refused := a.sandbox.Classify(text, account.ID)
		expired = expired || refused
		return err
	})
	if err != nil {
		return report, false, &bridge.Error{Op: "read answer", Account: account.ID, Code: bridge.Unavailable, Err: err, Hint: "ask again"}
	}
	if expired {
		a.roles.Forget(role)
	}
	a.compare(ctx, &report, account.ID, ask, calls)
	return report, expired, nil
}

// compare holds what the server says it called against what was asked. An answer from another
// Region than the one asked for is taken out of the report: it would be a wrong answer.
func (a *Asker) compare(ctx context.Context, report *bridge.Report, account bridge.AccountID, ask bridge.Ask, calls []Call) {
	asked := ask.Operation.String()
	regions := map[string]bool{}
	for _, region := range ask.Regions {
		regions[script.Region(ask, region)] = true
	}
	var strange []string
	wrongRegion := ""
	for _, call := range calls {
		lookup := ask.Enabled && strings.EqualFold(call.Operation, "ec2:DescribeRegions")
		if !lookup && !strings.EqualFold(call.Operation, asked) && !slices.Contains(strange, call.Operation) {
			strange = append(strange, call.Operation)
		}
		if call.Region != "" && !regions[call.Region] && !(lookup && call.Region == ask.Home) {
			wrongRegion = call.Region
		}
	}
	if len(strange) > 0 {
		a.logger.WarnContext(ctx, "server reports calls that were not asked for", "account", account, "operation", asked, "calls", len(strange))
		report.Notes = append(report.Notes, fmt.Sprintf("account %s: the AWS MCP Server reports calls that were not asked for: %s", account, strings.Join(strange[:min(len(strange), 5)], ", ")))
	}
	if wrongRegion != "" {
		a.logger.ErrorContext(ctx, "server called another region than asked for", "account", account, "operation", asked, "region", wrongRegion)
		for i := range report.Regions {
			if report.Regions[i].Err == nil {
				report.Regions[i].Document = nil
				report.Regions[i].Err = &bridge.Error{Op: "check answer", Account: account, Code: bridge.Unavailable,
					Err: errors.New("the AWS MCP Server called another Region (" + wrongRegion + ") than the one asked for; its answer was dropped")}
			}
		}
	}
}
