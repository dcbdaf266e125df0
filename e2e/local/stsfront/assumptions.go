package stsfront

import "github.com/central-ops/central-ops/e2e/local/assumed"

// Assumptions is what this stand-in takes for granted about STS.
var Assumptions = []assumed.Row{
	{
		ID: "sts-packed-size", Where: "stsfront",
		Assume: "session policy and tags together may take 2,048 bytes after DEFLATE compression; SessionTokenUtilization is that share",
		Source: "inferred: AWS documents a packed limit and a percentage, not the packing",
		Check:  "assume the target role with the bridge's policy and longest tags; read SessionTokenUtilization",
	},
	{
		ID: "sts-denied-text", Where: "stsfront",
		Assume: "a missing sts:SetSourceIdentity or sts:TagSession is AccessDenied that names this action, like sts:AssumeRole",
		Source: "observed for sts:AssumeRole, inferred for the others",
		Check:  "take one action out of the trust policy, assume the role, read the message",
	},
	{
		ID: "sts-unknown-role", Where: "stsfront",
		Assume: "a role that does not exist is AccessDenied, as one that does not trust the caller",
		Source: "documented behaviour of cross-account access; text inferred",
		Check:  "assume a role name that no account has",
	},
	{
		ID: "sts-source-identity-change", Where: "stsfront",
		Assume: "a chained call with another SourceIdentity than the session has is AccessDenied",
		Source: "documented that it cannot change; code inferred",
		Check:  "assume a role with SourceIdentity a, then from it another with b",
	},
}
