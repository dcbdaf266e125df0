// Command bridge is the Lambda function behind the gateway target: it answers tool calls about many
// AWS accounts. Its configuration is in environment variables, described in internal/config.
//
// It speaks the Lambda runtime API, so it runs wherever AWS_LAMBDA_RUNTIME_API points. Before the
// first poll it touches no network; what makes the first call fast (keys, the upstream's tool list,
// connections) is fetched in the background from then on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/central-ops/central-ops/services/bridge/internal/config"
	"github.com/central-ops/central-ops/services/bridge/internal/operations"
)

func main() { os.Exit(run(context.Background(), os.Getenv, os.Stderr)) }

// run serves invocations until the runtime API ends the process, and returns its exit status: 2 for
// a configuration that can't be used.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) int {
	c, err := config.FromEnv(getenv)
	table := operations.Load()
	if err = errors.Join(err, check(c, table)); err != nil {
		fmt.Fprintf(stderr, "bridge: configuration:\n%v\n", err)
		return 2
	}
	if c.MemoryMB > 0 && getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors(c.MemoryMB))
	}
	if c.MemoryMB > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(c.MemoryMB) << 20 / 10 * 9)
	}
	b, err := wire(ctx, c, table, stderr)
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

// unread is the most that an answer holds of memory while it waits for room, of a server that speaks HTTP/2.
const unread = 512 << 10

// roomOf is how many bytes of answers are worked on at a time by a function of so much memory that asks so many accounts at a
// time. An answer takes some five times its size until its rows are made; what else a query over hundreds of accounts takes
// are some 64 MB.
func roomOf(memoryMB, concurrency int) int64 {
	if memoryMB == 0 {
		return math.MaxInt64 // not in Lambda: nobody ends a process for what it takes
	}
	return max(int64(memoryMB*9/10-64)<<20-int64(concurrency)*unread, 20<<20) / 5
}
