package moto

import (
	"context"
	"time"

	"github.com/central-ops/central-ops/e2e/local/issued"
)

// STS obtains keys from a moto server, so that moto knows which account they belong to.
type STS struct {
	Endpoint string // the server's URL
}

// Mint returns keys for a session of the role. Only the three secrets are set. moto checks nothing: who may have
// the keys is the caller's business.
func (m STS) Mint(ctx context.Context, roleARN, sessionName string, _ time.Duration) (issued.Credential, error) {
	var out struct {
		AccessKeyID     string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		SecretAccessKey string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		SessionToken    string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	if err := call(ctx, m.Endpoint, "sts", "2011-06-15", "", &out, "AssumeRole", "RoleArn", roleARN, "RoleSessionName", sessionName); err != nil {
		return issued.Credential{}, err
	}
	return issued.Credential{AccessKeyID: out.AccessKeyID, SecretAccessKey: out.SecretAccessKey, SessionToken: out.SessionToken}, nil
}
