// Package sigv4 verifies AWS Signature Version 4 on requests that the local platform's AWS receives.
//
// It reads the Authorization header only:
//
//	Authorization: AWS4-HMAC-SHA256 Credential=<key>/<yyyymmdd>/<region>/<service>/aws4_request,
//	               SignedHeaders=host;x-amz-date;..., Signature=<64 hex digits>
//	X-Amz-Date: yyyymmddThhmmssZ
//	X-Amz-Security-Token: <token>           for temporary credentials
//	X-Amz-Content-Sha256: <64 hex digits>   optional; must match the body
//
// Presigned URLs, SigV4A, the plain Date header and chunked uploads are refused: nothing in the product sends them.
// The canonical request is rebuilt from what arrived, as described at
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/central-ops/central-ops/e2e/local/issued"
)

// Codes of an Error, as services with a JSON or REST protocol spell them.
// Error.QueryCode gives the spelling of the query protocol (STS, IAM, EC2).
const (
	MissingAuthenticationToken = "MissingAuthenticationTokenException"
	IncompleteSignature        = "IncompleteSignatureException"
	UnrecognizedClient         = "UnrecognizedClientException"
	InvalidSignature           = "InvalidSignatureException"
	ExpiredToken               = "ExpiredTokenException"
)

// MaxSkew is how far X-Amz-Date may be from the service's clock.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
const MaxSkew = 5 * time.Minute

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"
)

// Error is a refusal. Message is AWS's text as far as it is published; it never holds a key, a token or a signature.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// HTTPStatus is 400 for a request that could not be read as a signed one, else 403.
func (e *Error) HTTPStatus() int {
	if e.Code == IncompleteSignature {
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// QueryCode is the code as services with the query protocol answer it.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func (e *Error) QueryCode() string {
	switch e.Code {
	case MissingAuthenticationToken:
		return "MissingAuthenticationToken"
	case IncompleteSignature:
		return "IncompleteSignature"
	case UnrecognizedClient:
		return "InvalidClientTokenId"
	case InvalidSignature:
		return "SignatureDoesNotMatch"
	case ExpiredToken:
		return "ExpiredToken"
	}
	return e.Code
}

// Verify checks that r, whose body was body, is signed for service and region by a credential in store that is
// valid at now, and returns that credential. The error is an *Error.
//
// r must be as it arrived: path, query and headers untouched. For service "s3" the path is encoded once,
// for all others twice, as the signers do.
func Verify(r *http.Request, body []byte, service, region string, store *issued.Store, now time.Time) (issued.Credential, error) {
	auth, err := parseAuthorization(r)
	if err != nil {
		return issued.Credential{}, err
	}
	signedAt, err := checkScope(r, auth, service, region, now)
	if err != nil {
		return issued.Credential{}, err
	}
	cred, ok := store.Lookup(auth.accessKeyID)
	if !ok || subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(cred.SessionToken)) != 1 {
		return issued.Credential{}, &Error{UnrecognizedClient, "The security token included in the request is invalid."}
	}
	payload, err := payloadHash(r, body)
	if err != nil {
		return issued.Credential{}, err
	}
	canonical := canonicalRequest(r, auth.signedHeaders, payload, service)
	if subtle.ConstantTimeCompare([]byte(sign(cred.SecretAccessKey, auth, signedAt, canonical)), []byte(auth.signature)) != 1 {
		return issued.Credential{}, &Error{InvalidSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	if cred.Expired(now) {
		return issued.Credential{}, &Error{ExpiredToken, "The security token included in the request is expired"}
	}
	return cred, nil
}

// authorization is the Authorization header taken apart.
type authorization struct {
	accessKeyID   string
	date          string // yyyymmdd
	region        string
	service       string
	signedHeaders []string // lower case, sorted
	signature     string
}

func (a authorization) scope() string {
	return strings.Join([]string{a.date, a.region, a.service, terminator}, "/")
}

func parseAuthorization(r *http.Request) (authorization, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 || values[0] == "" {
		return authorization{}, &Error{MissingAuthenticationToken, "Missing Authentication Token"}
	}
	if len(values) > 1 {
		return authorization{}, &Error{IncompleteSignature, "Authorization header may appear only once."}
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if scheme != algorithm {
		return authorization{}, &Error{IncompleteSignature, "Authorization header must use " + algorithm + "."}
	}
	fields := make(map[string]string, 3)
	for part := range strings.SplitSeq(rest, ",") {
		key, value, found := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[key]; !found || twice {
			return authorization{}, &Error{IncompleteSignature, "Authorization header is not a list of distinct key=value pairs."}
		}
		fields[key] = value
	}
	for _, key := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[key] == "" {
			return authorization{}, &Error{IncompleteSignature, "Authorization header requires '" + key + "' parameter."}
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != terminator {
		return authorization{}, &Error{IncompleteSignature, "Credential must have exactly 5 slash-delimited elements and end with '" + terminator + "'."}
	}
	a := authorization{
		accessKeyID:   scope[0],
		date:          scope[1],
		region:        scope[2],
		service:       scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"),
		signature:     fields["Signature"],
	}
	return a, checkSignedHeaders(r, a.signedHeaders)
}

// checkSignedHeaders refuses a list that leaves out what must be signed: the host, the date and every other x-amz- header.
func checkSignedHeaders(r *http.Request, signed []string) error {
	if !slices.IsSorted(signed) || len(slices.Compact(slices.Clone(signed))) != len(signed) {
		return &Error{InvalidSignature, "SignedHeaders must be sorted and distinct."}
	}
	must := []string{"host", "x-amz-date"}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") {
			must = append(must, lower)
		}
	}
	for _, name := range must {
		if !slices.Contains(signed, name) {
			return &Error{InvalidSignature, "'" + name + "' must be a 'SignedHeader' in the AWS Authorization."}
		}
	}
	for _, name := range signed {
		if name != strings.ToLower(name) {
			return &Error{InvalidSignature, "SignedHeaders must be in lower case."}
		}
	}
	return nil
}

func checkScope(r *http.Request, auth authorization, service, region string, now time.Time) (time.Time, error) {
	stamp := r.Header.Get("X-Amz-Date")
	signedAt, err := time.Parse(timeFormat, stamp)
	if err != nil {
		return time.Time{}, &Error{IncompleteSignature, "Date must be in ISO-8601 'basic format'. Got '" + stamp + "'."}
	}
	switch {
	case auth.service != service:
		return time.Time{}, &Error{InvalidSignature, fmt.Sprintf("Credential should be scoped to correct service: '%s'.", service)}
	case auth.region != region:
		return time.Time{}, &Error{InvalidSignature, fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", auth.region)}
	case auth.date != stamp[:8]:
		return time.Time{}, &Error{InvalidSignature, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", auth.date, stamp[:8])}
	}
	now = now.UTC()
	if earliest := now.Add(-MaxSkew); signedAt.Before(earliest.Truncate(time.Second)) {
		return time.Time{}, &Error{InvalidSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)", stamp, earliest.Format(timeFormat), now.Format(timeFormat))}
	}
	if latest := now.Add(MaxSkew); signedAt.After(latest) {
		return time.Time{}, &Error{InvalidSignature, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)", stamp, latest.Format(timeFormat), now.Format(timeFormat))}
	}
	return signedAt, nil
}

// payloadHash is the hash of the body as it arrived; a declared hash that differs is refused.
func payloadHash(r *http.Request, body []byte) (string, error) {
	sum := sha256.Sum256(body)
	got := hex.EncodeToString(sum[:])
	if declared := r.Header.Values("X-Amz-Content-Sha256"); len(declared) > 1 || len(declared) == 1 && declared[0] != got {
		return "", &Error{InvalidSignature, "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	return got, nil
}

func canonicalRequest(r *http.Request, signedHeaders []string, payload, service string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n")
	b.WriteString(canonicalPath(r.URL, service) + "\n")
	b.WriteString(canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range signedHeaders {
		b.WriteString(name + ":" + canonicalHeader(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(signedHeaders, ";") + "\n" + payload)
	return b.String()
}

// canonicalPath takes the path as it travelled, which is encoded once, and for all services but S3 resolves
// dot segments and encodes it again.
func canonicalPath(u *url.URL, service string) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if service == "s3" {
		return path
	}
	var out []string
	segments := strings.Split(path, "/")
	for _, segment := range segments {
		switch segment {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, encode(segment))
		}
	}
	clean := "/" + strings.Join(out, "/")
	if last := segments[len(segments)-1]; clean != "/" && (last == "" || last == "." || last == "..") {
		clean += "/"
	}
	return clean
}

// canonicalQuery sorts the parameters by encoded name, then by encoded value.
func canonicalQuery(raw string) string {
	var pairs []string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, encode(decode(key))+"="+encode(decode(value)))
	}
	slices.SortFunc(pairs, func(a, b string) int {
		ak, av, _ := strings.Cut(a, "=")
		bk, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(ak, bk); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

func decode(s string) string {
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

// encode percent-encodes every byte that RFC 3986 does not call unreserved.
func encode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// canonicalHeader joins a header's values by commas, outer blanks cut and inner runs of blanks made one.
// net/http keeps Host and sometimes Content-Length outside the header map.
func canonicalHeader(r *http.Request, name string) string {
	values := r.Header.Values(name)
	switch {
	case name == "host":
		values = []string{r.Host}
	case name == "content-length" && len(values) == 0 && r.ContentLength >= 0:
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(trimmed, ",")
}

func sign(secret string, auth authorization, signedAt time.Time, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{algorithm, signedAt.Format(timeFormat), auth.scope(), hex.EncodeToString(sum[:])}, "\n")
	key := mac([]byte("AWS4"+secret), auth.date)
	key = mac(key, auth.region)
	key = mac(key, auth.service)
	key = mac(key, terminator)
	return hex.EncodeToString(mac(key, toSign))
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
