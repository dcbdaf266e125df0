// Package trail has the shape of CloudTrail records, as far as the local platform's AWS writes them.
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
package trail

import (
	"slices"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
)

// Record is one event.
type Record struct {
	EventVersion        string         `json:"eventVersion"`
	UserIdentity        UserIdentity   `json:"userIdentity"`
	EventTime           time.Time      `json:"eventTime"`
	EventSource         string         `json:"eventSource"`
	EventName           string         `json:"eventName"`
	AWSRegion           string         `json:"awsRegion"`
	SourceIPAddress     string         `json:"sourceIPAddress"`
	UserAgent           string         `json:"userAgent,omitempty"`
	ErrorCode           string         `json:"errorCode,omitempty"`
	ErrorMessage        string         `json:"errorMessage,omitempty"`
	RequestParameters   map[string]any `json:"requestParameters"`
	ResponseElements    map[string]any `json:"responseElements"`
	AdditionalEventData map[string]any `json:"additionalEventData,omitempty"`
	MCPEventDetails     map[string]any `json:"mcpEventDetails,omitempty"`
	RequestID           string         `json:"requestID"`
	EventID             string         `json:"eventID"`
	SharedEventID       string         `json:"sharedEventID,omitempty"` // the same in the records of two accounts
	ReadOnly            bool           `json:"readOnly"`
	EventType           string         `json:"eventType"`
	EventCategory       string         `json:"eventCategory"`
	ManagementEvent     bool           `json:"managementEvent"`
	RecipientAccountID  string         `json:"recipientAccountId"`
}

// UserIdentity is who called.
type UserIdentity struct {
	Type           string          `json:"type"` // AssumedRole, AWSAccount, AWSService or Unknown
	PrincipalID    string          `json:"principalId,omitempty"`
	ARN            string          `json:"arn,omitempty"`
	AccountID      string          `json:"accountId,omitempty"`
	AccessKeyID    string          `json:"accessKeyId,omitempty"`
	SessionContext *SessionContext `json:"sessionContext,omitempty"`
	InvokedBy      string          `json:"invokedBy,omitempty"`
}

// SessionContext tells how the caller's session came to be.
type SessionContext struct {
	SessionIssuer  SessionIssuer `json:"sessionIssuer"`
	SourceIdentity string        `json:"sourceIdentity,omitempty"`
}

// SessionIssuer is the role behind a session.
type SessionIssuer struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	UserName    string `json:"userName"`
}

// IdentityOf describes the bearer of c.
func IdentityOf(c issued.Credential) UserIdentity {
	roleID := c.PrincipalID[:len(c.PrincipalID)-min(len(c.PrincipalID), len(":"+c.SessionName))]
	return UserIdentity{
		Type: "AssumedRole", PrincipalID: c.PrincipalID, ARN: c.PrincipalARN, AccountID: c.Account, AccessKeyID: c.AccessKeyID,
		SessionContext: &SessionContext{
			SessionIssuer:  SessionIssuer{Type: "Role", PrincipalID: roleID, ARN: c.RoleARN, AccountID: c.Account, UserName: iampolicy.RoleName(c.RoleARN)},
			SourceIdentity: c.SourceIdentity,
		},
	}
}

// Sink takes records. It may be called concurrently.
type Sink func(Record)

// Log keeps records in the order in which they came. The zero value is ready to use.
type Log struct {
	mu      sync.Mutex
	records []Record
}

// Write adds a record; it is a Sink.
func (l *Log) Write(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
}

// Account returns a copy of what an account's trail holds; "" means all accounts.
func (l *Log) Account(id string) []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.records), func(r Record) bool { return id != "" && r.RecipientAccountID != id })
}
