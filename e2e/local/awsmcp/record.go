package awsmcp

import (
	"time"

	"github.com/central-ops/central-ops/e2e/local/trail"
)

// hidden is what the trail shows instead of arguments and results.
const hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

// recordSession records that a session began or ended. Unsigned requests leave no record.
func (s *Server) recordSession(name string, c *call) {
	if c.signed {
		s.config.Sink(s.event(name, c))
	}
}

// recordTool records a tool call, and each AWS call that it made as the service that was called would.
// https://github.com/adletgamer/AvisoAndino/blob/main/docs/proof/cloudtrail-mcp-2026-09-28.json
func (s *Server) recordTool(c *call, name string, calls []apiCall) {
	event := s.event(name, c)
	downstream := make([]map[string]string, len(calls))
	for i, each := range calls {
		id := each.requestID
		if id == "" {
			id = newID()
		}
		downstream[i] = map[string]string{"apiName": each.Operation, "requestId": id, "awsRegion": each.region}
		identity := trail.IdentityOf(c.caller)
		identity.InvokedBy = principal
		s.config.Sink(trail.Record{
			EventVersion: "1.11", UserIdentity: identity, EventTime: event.EventTime,
			EventSource: each.Service + ".amazonaws.com", EventName: each.Operation, AWSRegion: each.region,
			SourceIPAddress: principal, UserAgent: principal, ErrorCode: each.errorCode,
			RequestID: id, EventID: newID(), ReadOnly: each.readOnly,
			EventType: "AwsApiCall", EventCategory: "Management", ManagementEvent: true, RecipientAccountID: c.caller.Account,
		})
	}
	event.AdditionalEventData = map[string]any{"toolName": c.tool, "downstreamRequests": downstream}
	s.config.Sink(event)
}

// event is the record of a request in the observed or in the documented shape, which differ.
func (s *Server) event(name string, c *call) trail.Record {
	now := s.now().UTC()
	record := trail.Record{
		EventVersion: "1.11", UserIdentity: trail.IdentityOf(c.caller), EventTime: now.Truncate(time.Second),
		EventSource: principal, EventName: name, AWSRegion: s.config.Region, SourceIPAddress: "127.0.0.1",
		RequestParameters: map[string]any{"arguments": hidden}, ResponseElements: map[string]any{"result": hidden},
		RequestID: newID(), EventID: newID(), EventType: "AwsApiCall", EventCategory: "Management", ManagementEvent: true,
		RecipientAccountID: c.caller.Account,
	}
	if s.config.DocumentedTrail {
		record.EventSource = "aws-mcp." + s.config.Region + ".api.aws"
		record.EventType, record.EventCategory, record.ManagementEvent = "AwsMcpEvent", "Data", false
		if name != "Initialize" && name != "DestroySession" {
			record.EventName = "CallTool"
		}
		record.MCPEventDetails = map[string]any{
			"sessionId": c.session.id, "mcpProtocolVersion": c.session.version, "serverVersion": "1.0.0",
			"mcpServerName": "AWSMCP", "executionTimeMs": now.Sub(c.started).Milliseconds(),
		}
	}
	return record
}
