package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
	"github.com/central-ops/central-ops/services/cli/internal/terminal"
)

func (a *app) loginCommand() *cobra.Command {
	var username string
	var passwordStdin, browser, noOpen bool
	var port int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign in",
		Long: `Signs in to the user pool of the profile and keeps the tokens in your configuration folder, readable by you
alone. Asks for user name and password, for a new password if yours is temporary, and for a code if
your sign-in has a second factor. A password is never taken from an argument.

With --browser you sign in at the user pool's own pages instead, also through your company's identity provider.
The app client must allow the address http://localhost:<port>/callback.`,
		Example: `  centralops login --username alice
  centralops login --browser
  pass show central-ops | centralops login --username alice --password-stdin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, store, err := a.profile("user_pool_id", "client_id", "cognito_endpoint")
			if err != nil {
				return err
			}
			if browser {
				ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				return a.loginWithBrowser(ctx, port, noOpen)
			}
			person := &person{ctx: cmd.Context(), in: a.stdin, out: a.stderr}
			if username = first(username, a.getenv("CENTRALOPS_USERNAME")); username == "" {
				if username, err = person.username(); err != nil {
					return err
				}
			}
			password, err := person.password(passwordStdin)
			if err != nil {
				return err
			}
			tokens, err := pool(p).SignIn(cmd.Context(), username, password, person)
			if err != nil {
				return err
			}
			return a.keep(store, p, tokens)
		},
	}
	cmd.Flags().BoolVar(&browser, "browser", false, "sign in with a browser")
	cmd.Flags().BoolVar(&noOpen, "no-open", false, "with --browser: only print the address, do not open it")
	cmd.Flags().IntVar(&port, "callback-port", 8976, "with --browser: `port` that the browser comes back to")
	timeoutFlag(cmd, &timeout, 5*time.Minute, "with --browser: give up after this `time`")
	cmd.Flags().StringVarP(&username, "username", "u", "", "sign in as this `user`")
	cmd.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (a *app) loginWithBrowser(ctx context.Context, port int, noOpen bool) error {
	p, store, err := a.profile("user_pool_id", "client_id", "cognito_endpoint", "hosted_ui")
	if err != nil {
		return err
	}
	tokens, err := pool(p).SignInWithBrowser(ctx, p.HostedUI, port, func(address string) {
		fmt.Fprintf(a.stderr, "Sign in at this address:\n\n%s\n\n", address)
		if !noOpen {
			openBrowser(address)
		}
	})
	if err != nil {
		return err
	}
	return a.keep(store, p, tokens)
}

// openBrowser opens an address in the person's browser. Where there is none, the address that was
// printed does.
func openBrowser(address string) {
	opener := []string{"xdg-open"}
	switch goruntime.GOOS {
	case "darwin":
		opener = []string{"open"}
	case "windows":
		opener = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	cmd := exec.Command(opener[0], append(opener[1:], address)...)
	if cmd.Start() == nil {
		go cmd.Wait() // so that it does not stay behind as a zombie
	}
}

// keep stores the tokens of a sign-in.
func (a *app) keep(store profile.Store, p profile.Profile, tokens centralops.Tokens) error {
	if err := store.SaveTokens(p.Name, tokens); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "Signed in to %s as %s.\n", p.Name, markdown.CleanLine(tokens.Username))
	return nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "End the sign-in",
		Long:    `Revokes the tokens at the user pool and removes them from this machine.`,
		Example: `  centralops logout`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, store, err := a.profile("user_pool_id", "client_id", "cognito_endpoint")
			if err != nil {
				return err
			}
			tokens, err := store.LoadTokens(p)
			if errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(a.stderr, "You were not signed in to %s.\n", p.Name)
				return nil
			}
			revoked := err // tokens that can't be read can't be revoked, but they can be removed
			if tokens.RefreshToken != "" {
				revoked = pool(p).Revoke(cmd.Context(), tokens)
			}
			if err := store.RemoveTokens(p.Name); err != nil {
				return err
			}
			if revoked != nil {
				return &centralops.Error{Op: "sign out", Code: centralops.CodeOf(revoked), Err: revoked,
					Message: "the tokens are removed here but still valid at the user pool until they expire: " + revoked.Error()}
			}
			fmt.Fprintf(a.stderr, "Signed out of %s.\n", p.Name)
			return nil
		},
	}
}

// person asks whoever sits at the terminal. It implements cognito.Person.
type person struct {
	ctx     context.Context // of the command
	in, out *os.File
	lines   *bufio.Reader // of in; made when first used, because it reads ahead
	prompts *terminal.Prompts
}

// terminal returns the prompts of the person's terminal, the same ones each time.
func (p *person) terminal() *terminal.Prompts {
	if p.prompts == nil {
		p.prompts = &terminal.Prompts{In: p.in, Out: p.out}
	}
	return p.prompts
}

func (p *person) username() (string, error) {
	if !terminal.Is(p.in) {
		return "", usage("centralops login --username <user> --password-stdin", "no user name given, and standard input is no terminal")
	}
	return p.ask("User name: ")
}

func (p *person) password(fromStdin bool) (string, error) {
	switch {
	case fromStdin:
		// The first line only; a line feed is not part of a password.
		return p.line()
	case !terminal.Is(p.in):
		return "", usage("centralops login --password-stdin", "standard input is no terminal to ask for a password")
	}
	return p.secret("Password: ")
}

// NewPassword asks twice, because nobody sees what is typed.
func (p *person) NewPassword() (string, error) {
	if !terminal.Is(p.in) {
		return "", usage("centralops login in a terminal", "your password is temporary, and standard input is no terminal to ask for a new one")
	}
	fmt.Fprintln(p.out, "Your password is temporary. Choose a new one.")
	password, err := p.secret("New password: ")
	if err != nil {
		return "", err
	}
	again, err := p.secret("The same again: ")
	if err == nil && again != password {
		err = usage("centralops login", "the two new passwords differ")
	}
	return password, err
}

// Code asks for a one-time code; from a pipe it is the line after the password.
func (p *person) Code(from string) (string, error) {
	if terminal.Is(p.in) {
		return p.ask("Code from " + from + ": ")
	}
	return p.line()
}

func (p *person) ask(prompt string) (string, error) {
	line, err := p.terminal().ReadLine(prompt)
	if line = strings.TrimSpace(line); err == nil && line == "" {
		err = io.EOF
	}
	return line, nothing(err)
}

func (p *person) secret(prompt string) (string, error) {
	secret, err := p.terminal().ReadSecret(prompt)
	if err == nil && secret == "" {
		err = io.EOF
	}
	return secret, nothing(err)
}

func (p *person) line() (string, error) {
	if p.lines == nil {
		p.lines = bufio.NewReader(p.in)
	}
	line, err := untilInterrupted(p.ctx, "sign in", func() (string, error) { return p.lines.ReadString('\n') })
	line = strings.TrimRight(line, "\r\n")
	if line != "" {
		return line, nil
	}
	if err == nil {
		err = io.EOF
	}
	return "", nothing(err)
}

// nothing returns err, or what it means at a prompt: that nothing was typed, or Ctrl-C.
func nothing(err error) error {
	if errors.Is(err, terminal.ErrInterrupted) {
		return cancelled("sign in", err)
	}
	if errors.Is(err, io.EOF) {
		return usage("centralops login", "nothing was entered")
	}
	return err
}
