// Package audit writes the audit trail: one line for each query and one for each of its targets.
//
// A line says who, which account and Region, which operation, as which role session, how it ended
// and how long it took. It never holds tokens, credentials, arguments or results.
package audit

import (
	"context"
	"log/slog"

	"github.com/central-ops/central-ops/services/bridge"
)

// Trail writes to a logger. It is safe for concurrent use.
type Trail struct{ logger *slog.Logger }

var _ bridge.Auditor = Trail{}

// New returns a trail in logger.
func New(logger *slog.Logger) Trail { return Trail{logger} }

// QueryFinished implements bridge.Auditor.
func (t Trail) QueryFinished(ctx context.Context, record bridge.Record) {
	who := []slog.Attr{
		slog.String("user", record.Person.Subject),
		slog.String("username", record.Person.Username),
		slog.String("operation", record.Operation),
	}
	if record.Err != nil {
		t.logger.LogAttrs(ctx, slog.LevelInfo, "query refused", append(who,
			slog.String("code", string(bridge.CodeOf(record.Err))),
			slog.Int64("duration_ms", record.Duration.Milliseconds()))...)
		return
	}
	for _, result := range record.Answer.Results {
		attrs := append(who[:len(who):len(who)],
			slog.String("account", string(result.AccountID)),
			slog.String("region", result.Region),
			slog.String("status", string(result.Status)))
		if result.Error != nil {
			attrs = append(attrs, slog.String("code", string(result.Error.Code)))
		}
		if receipt := result.Receipt; receipt != nil {
			attrs = append(attrs,
				slog.String("target_role", receipt.RoleARN),
				slog.String("source_identity", receipt.SourceIdentity),
				slog.Int("api_calls", receipt.APICalls),
				slog.Int64("duration_ms", receipt.DurationMS))
		}
		t.logger.LogAttrs(ctx, slog.LevelInfo, "target finished", attrs...)
	}
	coverage := record.Answer.Coverage
	t.logger.LogAttrs(ctx, slog.LevelInfo, "query finished", append(who,
		slog.Int("targets", coverage.Targets),
		slog.Int("answered", coverage.Answered),
		slog.Int("denied", coverage.Denied),
		slog.Int("failed", coverage.Failed),
		slog.Int("skipped", coverage.Skipped),
		slog.Bool("truncated", record.Answer.Truncated),
		slog.Int64("duration_ms", record.Duration.Milliseconds()))...)
}
