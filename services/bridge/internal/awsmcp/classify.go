package awsmcp

import (
	"cmp"
	"errors"
	"regexp"
	"strings"

	"github.com/central-ops/central-ops/services/bridge"
)

// errorCode finds the AWS error code in botocore's text of a ClientError: "An error occurred
// (AccessDenied) when calling the ListUsers operation: …".
var errorCode = regexp.MustCompile(`An error occurred \(([A-Za-z0-9_.]+)\) when calling`)

// statuses are the codes that stand for an HTTP status, which is what botocore tells where an answer has no body to hold a code: those of
// operations that begin with Head.
var statuses = map[string]string{"400": "InvalidRequest", "401": "InvalidToken", "403": "Forbidden", "404": "NotFound",
	"429": "TooManyRequests", "500": "InternalError", "502": "ServiceUnavailable", "503": "ServiceUnavailable", "504": "ServiceUnavailable"}

// causes sorts AWS error codes and, where there is none, exceptions' texts. The first match holds.
// Codes are compared by their parts, since services vary them: Throttling, ThrottlingException.
// InvalidInstanceID.NotFound is a thing that is not there before it is one that is invalid.
var causes = []struct {
	words []string
	code  bridge.Code
	hint  string
}{
	{[]string{"AccessDenied", "UnauthorizedOperation", "UnauthorizedAccess", "NotAuthorized", "AuthorizationError", "Forbidden", "not authorized to perform", "explicit deny"},
		bridge.Forbidden, "the target role of this account, or the bridge's session policy, doesn't allow this operation"},
	{[]string{"ExpiredToken", "RequestExpired", "security token included in the request is expired"},
		bridge.Unauthenticated, "ask again"},
	{[]string{"Throttl", "TooManyRequests", "LimitExceeded", "SlowDown", "Rate exceeded", "ThroughputExceeded", "RequestThrottled"},
		bridge.Throttled, "ask again in a moment, or for fewer Regions"},
	{[]string{"TimeoutError", "CancelledError", "Timeout", "timed out"},
		bridge.Timeout, "ask again, or narrow params"},
	{[]string{"UnrecognizedClient", "AuthFailure", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken", "InvalidSignature", "SignatureDoesNotMatch"},
		bridge.Unauthenticated, "the account may not have this Region enabled"},
	{[]string{"OptInRequired", "SubscriptionRequired", "NotSubscribed", "NotSignedUp"},
		bridge.Unavailable, "the account has not signed up for this service"},
	{[]string{"EndpointConnectionError", "Could not connect to the endpoint", "UnknownEndpoint", "EndpointNotFound", "UnknownRegion", "NoRegionError"},
		bridge.Unavailable, "the service may not exist in this Region: get_regional_availability tells"},
	{[]string{"OperationNotFound", "UnknownService", "UnknownOperation"},
		bridge.Unavailable, "the AWS MCP Server doesn't know the operation yet"},
	{[]string{"NotFound", "NoSuch", "DoesNotExist", "Nonexistent", "NonExistent"},
		bridge.NotFound, "there is none in this account and Region, or params name it wrong"},
	{[]string{"ParamValidation", "Parameter validation failed", "Validation", "validation error", "InvalidParameter", "InvalidRequest", "InvalidInput", "MissingParameter", "Malformed", "InvalidArgument", "InvalidNextToken", "Invalid"},
		bridge.Invalid, "correct params: the operation's parameters are those of boto3"},
	{[]string{"Internal", "ServiceUnavailable", "ServiceException", "ServerException", "ServiceFailure"},
		bridge.Unavailable, "AWS is at fault; ask again in a moment"},
}

// classified is the Op of what Classify returns.
const classified = "call AWS"

// Classify returns the error that an exception's or a tool error's text stands for.
func Classify(text string, account bridge.AccountID) error {
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		text = "no reason was given"
	}
	subject := text
	if match := errorCode.FindStringSubmatch(text); match != nil {
		subject = cmp.Or(statuses[match[1]], match[1])
	}
	known := &bridge.Error{Op: classified, Account: account, Code: bridge.Unavailable, Err: errors.New(text)}
	for _, cause := range causes {
		for _, word := range cause.words {
			if strings.Contains(subject, word) {
				known.Code, known.Hint = cause.code, cause.hint
				if IsExpired(subject) {
					return &ExpiredError{known}
				}
				return known
			}
		}
	}
	return known
}

// IsExpired says whether text speaks of credentials that have expired.
func IsExpired(text string) bool {
	return strings.Contains(text, "ExpiredToken") || strings.Contains(text, "token included in the request is expired")
}
