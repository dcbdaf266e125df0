package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
	"github.com/central-ops/central-ops/services/cli/internal/cognito"
	"github.com/central-ops/central-ops/services/cli/internal/gateway"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
	"github.com/central-ops/central-ops/services/cli/internal/runtime"
)

// The probe of a target role: a read that costs nothing, that every read policy permits, that exists
// once per account whatever its Regions are, and whose answer has no rows to carry.
const probeService, probeOperation = "iam", "GetAccountSummary"

// accountState is an account and whether its target role can be used.
type accountState struct {
	centralops.Account
	State   string            `json:"state"` // ok, denied, throttled, timeout, failed, skipped; "" if not probed
	RoleARN string            `json:"role_arn,omitempty"`
	Error   *centralops.Error `json:"error,omitempty"`
}

func (a *app) accountsCommand() *cobra.Command {
	var asJSON, listOnly bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "accounts",
		Short: "List your accounts and the state of their target roles",
		Long: `Lists the accounts that you may query, and asks each one a cheap question (` + probeService + ":" + probeOperation + `) to see
whether its target role can be used, and if not, why.`,
		Example: `  centralops accounts
  centralops accounts --list-only --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			p, store, err := a.bridgeProfile()
			if err != nil {
				return err
			}
			states, err := a.accounts(ctx, wayToBridge(p, a.client(p, store)), !listOnly)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(map[string]any{"accounts": states})
			} else {
				err = writeAccounts(a.stdout, states, a.style())
			}
			if err != nil || listOnly {
				return err
			}
			return exit(statusOfAccounts(states))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&listOnly, "list-only", false, "do not ask the accounts")
	timeoutFlag(cmd, &timeout, time.Minute, "give up after this `time`")
	return cmd
}

// wayToBridge returns how the profile's people call the bridge's tools.
func wayToBridge(p profile.Profile, client *http.Client) bridge.Caller {
	if p.ByAgent() {
		return &runtime.Client{Base: p.RuntimeURL, ARN: p.RuntimeARN, Qualifier: p.Qualifier, Session: centralops.NewSessionID(), HTTP: client}
	}
	return &gateway.Client{URL: p.GatewayURL, HTTP: client}
}

// listAccounts returns the accounts that the person may query, in the bridge's order; not nil.
func listAccounts(ctx context.Context, by bridge.Caller) ([]centralops.Account, error) {
	listed := struct {
		Accounts []centralops.Account `json:"accounts"`
	}{Accounts: []centralops.Account{}}
	err := askBridge(ctx, by, "list_accounts", map[string]any{}, &listed)
	return listed.Accounts, err
}

// query returns the targets of one query, in the bridge's order.
func query(ctx context.Context, by bridge.Caller, arguments map[string]any) ([]centralops.Target, error) {
	var answer struct {
		Results []centralops.Target `json:"results"`
	}
	err := askBridge(ctx, by, "query", arguments, &answer)
	return answer.Results, err
}

// probe asks each account whether its target role can be used.
func probe(ctx context.Context, by bridge.Caller) ([]centralops.Target, error) {
	return query(ctx, by, map[string]any{"accounts": []string{"all"}, "service": probeService, "operation": probeOperation})
}

// askBridge calls a tool of the bridge and decodes its answer.
func askBridge(ctx context.Context, by bridge.Caller, tool string, arguments, into any) error {
	raw, err := by.Bridge(ctx, tool, arguments)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return &centralops.Error{Op: tool, Code: centralops.Unavailable, Message: err.Error(), Hint: "pulumi up, to deploy the bridge", Err: err}
	}
	return nil
}

// accounts returns the accounts that the person may query, in the bridge's order; probed, it asks
// each whether its target role can be used.
func (a *app) accounts(ctx context.Context, by bridge.Caller, probed bool) ([]accountState, error) {
	if probed {
		defer a.newStatus("asking all accounts").Close()
	}
	listed, err := listAccounts(ctx, by)
	if err != nil {
		return nil, err
	}
	states := make([]accountState, len(listed))
	for i, account := range listed {
		states[i].Account = account
	}
	if !probed || len(states) == 0 {
		return states, nil
	}
	targets, err := probe(ctx, by)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]centralops.Target, len(targets))
	for _, target := range targets {
		byID[target.AccountID] = target
	}
	for i := range states {
		target, ok := byID[states[i].ID]
		if !ok {
			states[i].State = "skipped"
			states[i].Error = &centralops.Error{Code: centralops.Internal, Message: "the bridge's answer does not name this account"}
			continue
		}
		states[i].State, states[i].Error = target.Status, target.Error
		if target.Receipt != nil {
			states[i].RoleARN = target.Receipt.RoleARN
		}
	}
	return states, nil
}

// statusOfAccounts returns the exit status that probed accounts stand for.
func statusOfAccounts(states []accountState) int {
	usable := 0
	for _, s := range states {
		if s.State == "ok" {
			usable++
		}
	}
	switch usable {
	case len(states):
		return centralops.ExitComplete
	case 0:
		return centralops.ExitFailed
	default:
		return centralops.ExitPartial
	}
}

// writeAccounts prints the accounts as a table.
func writeAccounts(w io.Writer, states []accountState, style markdown.Style) error {
	if len(states) == 0 {
		_, err := fmt.Fprintln(w, "There is no account that you may query. The access policy decides by group: centralops whoami")
		return err
	}
	rows := [][]string{{"ACCOUNT", "NAME", "ENVIRONMENT"}}
	probed := states[0].State != ""
	if probed {
		rows[0] = append(rows[0], "TARGET ROLE", "STATE")
	}
	for _, s := range states {
		row := []string{s.ID, s.Name, s.Environment}
		if probed {
			row = append(row, first(roleName(s.RoleARN), "-"), why(s.State, s.Error))
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = markdown.CleanLine(row[i])
		}
	}
	_, err := io.WriteString(w, markdown.Columns(rows, style))
	return err
}

func (a *app) whoamiCommand() *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who is signed in, groups and accounts",
		Long: `Shows what the access token says about you, and the accounts that you may query. The list of accounts comes from
the bridge, which verifies the token; without it the claims are only what the token says.`,
		Example: `  centralops whoami`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			p, store, err := a.bridgeProfile()
			if err != nil {
				return err
			}
			token, err := a.tokens(p, store).Token(ctx)
			if err != nil {
				return err
			}
			claims, err := cognito.ParseClaims(token)
			if err != nil {
				return &centralops.Error{Code: centralops.Unauthenticated, Message: "the access token can't be read: " + err.Error(), Hint: "centralops login", Err: err}
			}
			states, failed := a.accounts(ctx, wayToBridge(p, a.client(p, store)), false)
			if asJSON {
				accounts, groups := make([]centralops.Account, len(states)), append([]string{}, claims.Groups...) // not null if empty
				for i, s := range states {
					accounts[i] = s.Account
				}
				if err := a.printJSON(map[string]any{
					"profile": p.Name, "username": claims.Username, "subject": claims.Subject, "groups": groups,
					"expires": claims.Expires.UTC().Format(time.RFC3339), "verified": failed == nil, "accounts": accounts,
				}); err != nil {
					return err
				}
				return failed
			}
			verified := "yes, by the Gateway and the bridge"
			if p.ByAgent() {
				verified = "yes, by the Runtime and the bridge"
			}
			if failed != nil {
				verified = "no"
			}
			rows := [][]string{
				{"Profile", p.Name},
				{"User", claims.Username},
				{"Groups", first(strings.Join(claims.Groups, ", "), "none")},
				{"Token until", claims.Expires.Local().Format("15:04:05 MST")},
				{"Verified", verified},
			}
			for _, row := range rows {
				fmt.Fprintf(a.stdout, "%-12s %s\n", row[0], markdown.CleanLine(row[1]))
			}
			if failed != nil {
				return failed
			}
			fmt.Fprintln(a.stdout)
			return writeAccounts(a.stdout, states, a.style())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	timeoutFlag(cmd, &timeout, time.Minute, "give up after this `time`")
	return cmd
}

// printJSON prints v to standard output, indented.
func (a *app) printJSON(v any) error { return encodeJSON(a.stdout, v) }

// encodeJSON writes v so that a terminal can show it.
func encodeJSON(w io.Writer, v any) error {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(v)
	if err == nil {
		_, err = io.WriteString(w, markdown.EscapeJSON(text.String()))
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
