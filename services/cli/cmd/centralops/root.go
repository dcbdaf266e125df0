package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/cognito"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
	"github.com/central-ops/central-ops/services/cli/internal/runtime"
	"github.com/central-ops/central-ops/services/cli/internal/terminal"
)

// app is what all commands share: streams, the environment, and the flags of every command.
type app struct {
	getenv        func(string) string
	stdin, stderr *os.File
	stdout        *output

	profileName string
	profileFile string
	settings    map[string]*string // by key: the flags of profile.Fields
}

// output is standard output. It keeps the first error for the end of the program, because a command does not look at each of
// its writes, and says nothing of it before: cobra prints errors of its own writes by itself.
type output struct {
	file   *os.File
	failed error
}

func (o *output) Write(p []byte) (int, error) {
	if o.failed == nil {
		_, o.failed = o.file.Write(p)
	}
	return len(p), nil
}

// root returns the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "centralops",
		Short: "Ask questions about many AWS accounts",
		Long: `centralops asks questions about many AWS accounts in plain language and shows which accounts answered,
which did not and why, and as whom they were asked.`,
		Example: `  centralops configure --from-stack dev
  centralops login
  centralops ask "Which accounts have instances running in eu-west-1?"`,
		Version:           version,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("centralops {{.Version}}\n")
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd.CommandPath()+" --help", "%v", err)
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.profileName, "profile", "", "`name` of the profile to use")
	flags.StringVar(&a.profileFile, "profile-file", "", "profile `file` to use instead")
	a.settings = make(map[string]*string, len(profile.Fields))
	for _, field := range profile.Fields {
		a.settings[field.Key] = flags.String(field.Flag, "", field.Help)
		flags.Lookup(field.Flag).Hidden = true // `centralops help settings` lists them
	}
	root.AddCommand(a.askCommand(), a.chatCommand(), a.accountsCommand(), a.whoamiCommand(), a.doctorCommand(), a.loginCommand(), a.logoutCommand(),
		a.configureCommand(), settingsTopic())
	if err := root.RegisterFlagCompletionFunc("profile", a.completeProfile); err != nil {
		panic(err) // there is no flag profile: a bug
	}
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	a.strict(root)
	return root
}

// completeProfile lists the profiles for a shell.
func (a *app) completeProfile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	store, err := a.store()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := store.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// strict makes wrong arguments of the command and of those below it a usage error that names the help.
func (a *app) strict(command *cobra.Command) {
	check := command.Args
	if check == nil {
		check = cobra.NoArgs
	}
	switch command.Name() { // these two are cobra's, and take what they don't know for a wish to see the help
	case "help":
		check = topic
		command.Example = "  centralops help ask"
	case "completion":
		command.Example = "  source <(centralops completion bash)"
		command.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	command.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			help, _ := strings.CutSuffix(cmd.CommandPath(), " help")
			return usage(help+" --help", "%v", err)
		}
		return nil
	}
	for _, below := range command.Commands() {
		a.strict(below)
	}
}

// topic is an error if args are no command.
func topic(cmd *cobra.Command, args []string) error {
	if _, rest, err := cmd.Root().Find(args); err != nil || len(rest) > 0 {
		return fmt.Errorf("there is no help about %q", strings.Join(args, " "))
	}
	return nil
}

const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} <command> [flags]

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if (or .Runnable .HasSubCommands)}}{{.UsageString}}
Each setting of the profile is a flag and an environment variable too: centralops help settings
Exit status: 0 complete, 3 partial, 1 failed, 2 wrong usage.{{if .HasExample}}

Example:

{{.Example}}{{end}}
{{end}}`

// settingsTopic is the help page about profiles; it is no command.
func settingsTopic() *cobra.Command {
	var rows strings.Builder
	for _, field := range profile.Fields {
		fmt.Fprintf(&rows, "  %-17s --%-17s %-28s %s\n", field.Key, field.Flag, field.EnvName(), field.Help)
	}
	return &cobra.Command{
		Use:   "settings",
		Short: "About profiles, settings and environment variables",
		Long: `A profile says where a deployment is. It is a JSON object in the folder centralops of your configuration
folder, written by "centralops configure"; tokens sit beside it, readable by you alone.

A setting is taken from its flag, else from its environment variable, else from the profile:

` + rows.String() + `
Other environment variables:

  CENTRALOPS_PROFILE       profile to use, as --profile
  CENTRALOPS_PROFILE_FILE  profile file to use, as --profile-file
  CENTRALOPS_ACCESS_TOKEN  access token to send instead of signing in; it is not renewed and not stored
  CENTRALOPS_USERNAME      user name for login, as --username
  CENTRALOPS_CONFIG_DIR    folder of profiles and tokens
  NO_COLOR                 set to anything: no colour`,
	}
}

// usage returns an error of wrong usage.
func usage(hint, format string, args ...any) error {
	return &centralops.Error{Code: centralops.Invalid, Usage: true, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// limit is the value of a flag that bounds how long something may take. It implements pflag.Value.
type limit struct{ *time.Duration }

func (l limit) Type() string { return "time" }

func (l limit) String() string {
	if l.Duration == nil {
		return ""
	}
	return l.Duration.String()
}

func (l limit) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("must be more than 0")
	}
	if err != nil {
		return fmt.Errorf("%w (such as 30s or 5m)", err)
	}
	*l.Duration = d
	return nil
}

// timeoutFlag defines the flag --timeout of a command.
func timeoutFlag(cmd *cobra.Command, into *time.Duration, value time.Duration, help string) {
	*into = value
	cmd.Flags().Var(limit{into}, "timeout", help)
}

// untilInterrupted returns what read returns, or that op was cancelled: the signal of Ctrl-C does not end a read.
func untilInterrupted(ctx context.Context, op string, read func() (string, error)) (string, error) {
	type outcome struct {
		text string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		text, err := read()
		done <- outcome{text, err}
	}()
	select {
	case got := <-done:
		return got.text, got.err
	case <-ctx.Done():
		return "", cancelled(op, ctx.Err())
	}
}

// cancelled is the error of what a person has stopped: no kind of failure, and nothing to try.
func cancelled(op string, cause error) error {
	return &centralops.Error{Op: op, Message: "cancelled", Err: cause}
}

// store returns the program's folder.
func (a *app) store() (profile.Store, error) {
	dir, err := profile.Folder(a.getenv)
	return profile.Store{Dir: dir}, err
}

// profile returns the effective settings, checked: those of the profile that was chosen, replaced
// by environment variables, replaced by flags. needs are the keys that the command can't do without.
func (a *app) profile(needs ...string) (profile.Profile, profile.Store, error) {
	p, store, err := a.unchecked()
	if err != nil {
		return p, store, err
	}
	return p, store, p.Check(needs...)
}

// bridgeProfile is profile for commands that call the bridge's tools.
func (a *app) bridgeProfile() (profile.Profile, profile.Store, error) {
	p, store, err := a.unchecked()
	if err != nil {
		return p, store, err
	}
	if p.ByAgent() {
		return p, store, p.Check("runtime_url", "runtime_arn", "qualifier")
	}
	return p, store, p.Check("gateway_url")
}

// unchecked returns the effective settings as they are.
func (a *app) unchecked() (profile.Profile, profile.Store, error) {
	store, err := a.store()
	if err != nil {
		return profile.Profile{}, store, err
	}
	p, err := a.chosen(store)
	if err != nil {
		return p, store, err
	}
	a.override(&p)
	p.Complete()
	return p, store, nil
}

// chosen returns the profile that flags, environment or the current file name; an empty one called
// default if nothing does, because flags and environment may say it all.
func (a *app) chosen(store profile.Store) (profile.Profile, error) {
	if file := first(a.profileFile, a.getenv("CENTRALOPS_PROFILE_FILE")); file != "" && a.profileName == "" {
		p, err := profile.Read(file)
		if err == nil && p.Name == "" {
			p.Name = "default"
		}
		if err == nil {
			err = profile.CheckName(p.Name)
		}
		return p, err
	}
	name := first(a.profileName, a.getenv("CENTRALOPS_PROFILE"))
	if name == "" {
		var err error
		if name, err = store.Current(); err != nil {
			return profile.Profile{}, err
		}
	}
	if name == "" {
		return profile.Profile{Name: "default"}, nil
	}
	return store.Load(name)
}

func (a *app) override(p *profile.Profile) {
	for _, field := range profile.Fields {
		if value := first(*a.settings[field.Key], a.getenv(field.EnvName())); value != "" {
			*field.Value(p) = value
		}
	}
}

// first returns the first of values that is not empty.
func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// pool returns the user pool of the profile.
func pool(p profile.Profile) *cognito.Pool {
	client := bearer.NewPlainClient()
	client.Timeout = 30 * time.Second
	return &cognito.Pool{Endpoint: p.CognitoEndpoint, UserPoolID: p.UserPoolID, ClientID: p.ClientID, Now: time.Now, HTTP: client}
}

// client returns an HTTP client that sends the person's token.
func (a *app) client(p profile.Profile, store profile.Store) *http.Client {
	return bearer.NewClient(a.tokens(p, store))
}

// agent returns the client of the profile's agent.
func (a *app) agent(p profile.Profile, client *http.Client) *runtime.Client {
	return &runtime.Client{Base: p.RuntimeURL, ARN: p.RuntimeARN, Qualifier: p.Qualifier, HTTP: client}
}

// style returns how to render for standard output.
func (a *app) style() markdown.Style {
	if !terminal.Is(a.stdout.file) {
		return markdown.Style{}
	}
	// https://no-color.org
	return markdown.Style{Width: terminal.Width(a.stdout.file), Color: a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"}
}

// newStatus shows line as what goes on; it returns nil where there is no status line.
func (a *app) newStatus(line string) *terminal.Status {
	if !terminal.Is(a.stderr) || a.getenv("TERM") == "dumb" {
		return nil
	}
	status := terminal.NewStatus(a.stderr)
	status.Set(line)
	return status
}
