package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
)

func (a *app) configureCommand() *cobra.Command {
	var stack, dir, file string
	var show bool
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Write a profile, or show the one in use",
		Long: `Writes a profile and makes it the current one. The settings come from the outputs of a Pulumi stack, from a
file, or from flags; flags win. With --show, or without any of these, it shows the settings that are in use.`,
		Example: `  centralops configure --from-stack dev
  centralops configure --from-file build/local/profile.json
  centralops configure --profile dev --qualifier canary
  centralops configure --show`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			var p profile.Profile
			switch {
			case show:
				return a.showProfile()
			case stack != "" && file != "":
				return usage("centralops configure --help", "--from-stack and --from-file exclude each other")
			case stack == "" && cmd.Flags().Changed("from-stack"): // a script's variable that is not set
				return usage("centralops configure --from-stack <stack>", "--from-stack names no stack")
			case file == "" && cmd.Flags().Changed("from-file"):
				return usage("centralops configure --from-file <file>", "--from-file names no file")
			case stack != "":
				p, err = a.fromStack(cmd, stack, dir)
			case file != "":
				p, err = profile.Read(file)
			case !a.anySetting(cmd):
				return a.showProfile()
			default:
				// Flags alone: onto what the profile has already, if there is one.
				p, err = a.chosen(store)
				if a.profileName != "" && errors.Is(err, profile.ErrNoProfile) {
					p, err = profile.Profile{Name: a.profileName}, nil
				}
			}
			if err != nil {
				return err
			}
			for _, field := range profile.Fields {
				if value := *a.settings[field.Key]; value != "" {
					*field.Value(&p) = value
				}
			}
			p.Name = first(a.profileName, p.Name, "default")
			complete := p
			complete.Complete() // defaults are not written: they may change
			if err := complete.Check(); err != nil {
				return err
			}
			written, err := store.Save(p)
			if err != nil {
				return err
			}
			if err := store.Use(p.Name); err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "Profile %s is written to %s and is the current one. Next: centralops login\n", p.Name, written)
			return nil
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "show the settings in use and write nothing")
	cmd.Flags().StringVar(&stack, "from-stack", "", "take the settings from the outputs of this Pulumi `stack`")
	cmd.Flags().StringVar(&dir, "pulumi-dir", ".", "`folder` of the Pulumi project")
	cmd.Flags().StringVar(&file, "from-file", "", "take the settings from this profile `file`")
	return cmd
}

// anySetting reports whether a flag of a setting was given.
func (a *app) anySetting(cmd *cobra.Command) bool {
	for _, field := range profile.Fields {
		if cmd.Flags().Changed(field.Flag) {
			return true
		}
	}
	return false
}

// fromStack asks pulumi for the outputs of a stack.
func (a *app) fromStack(cmd *cobra.Command, stack, dir string) (profile.Profile, error) {
	pulumi := exec.CommandContext(cmd.Context(), "pulumi", "stack", "output", "--json", "--stack", stack)
	pulumi.Dir = dir
	var stdout, stderr bytes.Buffer
	pulumi.Stdout, pulumi.Stderr = &stdout, &stderr
	pulumi.WaitDelay = time.Second // for what pulumi has started and that holds its output open
	err := pulumi.Run()
	if ended := cmd.Context().Err(); ended != nil {
		return profile.Profile{}, cancelled("read stack outputs", ended)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // pulumi itself has ended well
	}
	if errors.Is(err, exec.ErrNotFound) {
		return profile.Profile{}, &centralops.Error{Op: "read stack outputs", Code: centralops.NotFound, Err: err,
			Message: "there is no pulumi on the PATH", Hint: "centralops configure --from-file <file>, with a profile from somebody who has it"}
	}
	if err != nil {
		const shown = 4 << 10 // bytes; its first lines say why
		message := bearer.ErrorText(&stderr, shown)
		return profile.Profile{}, &centralops.Error{Op: "read stack outputs", Code: centralops.Unavailable, Err: err,
			Message: "pulumi: " + first(message, err.Error()), Hint: "pulumi stack ls, in the folder of Pulumi.yaml (--pulumi-dir)"}
	}
	return profile.FromOutputs(stack, stdout.Bytes())
}

// showProfile prints the settings in use and where each is from.
func (a *app) showProfile() error {
	store, err := a.store()
	if err != nil {
		return err
	}
	kept, err := a.chosen(store)
	if err != nil {
		return err
	}
	effective := kept
	a.override(&effective)
	effective.Complete()
	rows := [][]string{{"SETTING", "VALUE", "FROM"}, {"profile", effective.Name, ""}}
	for _, field := range profile.Fields {
		value, from := *field.Value(&effective), "default"
		switch {
		case value == "":
			value, from = "-", "not set"
		case *a.settings[field.Key] != "":
			from = "--" + field.Flag
		case a.getenv(field.EnvName()) != "":
			from = field.EnvName()
		case *field.Value(&kept) != "":
			from = "profile"
		}
		rows = append(rows, []string{field.Key, markdown.CleanLine(value), from})
	}
	fmt.Fprint(a.stdout, markdown.Columns(rows, a.style()))
	return effective.Check()
}
