// Command bridge is the Lambda function behind the gateway target: it answers tool calls about many
// AWS accounts. Its configuration is in environment variables, described in internal/config.
//
// It speaks the Lambda runtime API, so it runs wherever AWS_LAMBDA_RUNTIME_API points. Before the
// first poll it touches no network; what makes the first call fast (keys, the upstream's tool list,
// connections) is fetched in the background from then on.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/central-ops/central-ops/services/bridge/internal/config"
)

func main() { os.Exit(run(context.Background(), os.Getenv, os.Stderr)) }

// run serves invocations until the runtime API ends the process, and returns its exit status: 2 for
// a configuration that can't be used.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) int {
	c, err := config.FromEnv(getenv)
	if err != nil {
		fmt.Fprintf(stderr, "bridge: configuration:\n%v\n", err)
		return 2
	}
	if c.MemoryMB > 0 && getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors(c.MemoryMB))
	}
	b, err := wire(ctx, c, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "bridge: %v\n", err)
		return 2
	}
	go b.warm(ctx)
	lambda.StartWithOptions(b, lambda.WithContext(ctx))
	return 0
}

// processors is how many processors a function of so much memory is worth: Lambda shows it two at least, but lets it have
// the time of one for each 1,769 MB (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, read 2026-11-26).
// Threads for more only wake and wait for each other.
func processors(memoryMB int) int {
	const each = 1769
	return (memoryMB + each - 1) / each
}
