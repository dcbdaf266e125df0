// Package identity verifies user tokens: Cognito access tokens, by the pool's published keys.
//
// A token is taken if its RS256 signature is by a key of the JWKS, iss is the issuer, client_id is
// one of the client ids, token_use is "access", it has not expired, and it names a subject. What
// Cognito puts into one: https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html.
//
// Keys are fetched at first use. A token with a key id that isn't there makes for one more fetch,
// so that a rotation is followed at once; three such fetches may come together and then one every ten
// seconds, so that forged key ids cost next to nothing. When the JWKS can't be read, the last keys stay.
//
// A token that was taken is taken again without the signature being computed anew, until it expires or
// the keys are fetched: the same bytes by the same keys have the same answer.
package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	// refetch and refetches bound how often the JWKS is fetched for want of a key.
	refetch   = 10 * time.Second
	refetches = 3
	// keep is how old keys may grow, glance how long a token waits for newer ones, pause is from a fetch that failed to the next.
	keep   = time.Hour
	glance = 2 * time.Second
	pause  = 10 * time.Second
	// patience bounds one fetch.
	patience = 5 * time.Second
	// maxJWKS bounds its answer: a pool has two keys, of 400 bytes each.
	maxJWKS = 256 << 10
	// maxToken bounds a token; the client context of a Lambda holds less.
	maxToken = 8 << 10
	// maxTaken bounds the tokens that are remembered.
	maxTaken = 1000
)

// Config says which tokens are taken.
type Config struct {
	Issuer    string
	ClientIDs []string
	JWKSURL   string
}

// Verifier verifies user tokens. It is safe for concurrent use.
type Verifier struct {
	http   *http.Client
	config Config
	parser *jwt.Parser
	flight singleflight.Group
	wanted *rate.Limiter // fetches for want of a key

	mu    sync.Mutex
	keys  map[string]any // by key id; nil before the first
	taken map[digest]taken
	reads int       // how often keys were read
	fresh time.Time // until when the keys need not be fetched again
	err   error     // what became of the last fetch
}

// digest stands for a token: what is remembered of one must not be a token.
type digest [sha256.Size]byte

// taken is a token that was taken.
type taken struct {
	person bridge.Person
	until  time.Time // when it expires
}

// New returns a Verifier that has no keys yet.
func New(client *http.Client, config Config) *Verifier {
	return &Verifier{http: client, config: config, taken: map[digest]taken{}, wanted: rate.NewLimiter(rate.Every(refetch), refetches), parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(config.Issuer), jwt.WithExpirationRequired())}
}

type claims struct {
	jwt.RegisteredClaims
	ClientID string   `json:"client_id"`
	Use      string   `json:"token_use"`
	Username string   `json:"username"`
	Groups   []string `json:"cognito:groups"`
}

// Verify returns the person that token, a bare JWT, names. Its error is unauthenticated if the
// token isn't taken, and unavailable if there are no keys to verify it by.
func (v *Verifier) Verify(ctx context.Context, token string) (bridge.Person, error) {
	if token == "" {
		return bridge.Person{}, refuse("sign in, and send the access token with the request", errors.New("there is no user token"))
	}
	if len(token) > maxToken {
		return bridge.Person{}, refuse("use an access token with fewer groups", fmt.Errorf("the token has %d bytes, at most %d are taken", len(token), maxToken))
	}
	v.renew(ctx)
	sum := digest(sha256.Sum256([]byte(token)))
	person, known, reads := v.remembered(sum)
	if known {
		return person, nil
	}
	var c claims
	var outage error
	_, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok { // extensions that must be understood, and none is: RFC 7515, 4.1.11
			return nil, errors.New("critical header parameters")
		}
		id, _ := t.Header["kid"].(string) // "" is no key's id
		key, err := v.key(ctx, id)
		if bridge.CodeOf(err) == bridge.Unavailable {
			outage = err
		}
		return key, err
	})
	switch {
	case outage != nil:
		return bridge.Person{}, outage
	case errors.Is(err, jwt.ErrTokenExpired):
		return bridge.Person{}, refuse("sign in again", errors.New("the token has expired"))
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return bridge.Person{}, refuse("sign in at this environment's user pool", errors.New("the token is by another issuer"))
	case err != nil:
		return bridge.Person{}, refuse("sign in again", reason(err))
	case c.Use != "access":
		return bridge.Person{}, refuse("send the access token, not the id token", errors.New("the token is not an access token"))
	case !slices.Contains(v.config.ClientIDs, c.ClientID):
		return bridge.Person{}, refuse("sign in with this environment's app client", errors.New("the token is of another app client"))
	case c.Subject == "":
		return bridge.Person{}, refuse("sign in as a person: a client-credentials token names nobody", errors.New("the token names no subject"))
	}
	person = bridge.Person{Subject: c.Subject, Username: c.Username, Groups: c.Groups}
	if person.Username == "" {
		person.Username = person.Subject
	}
	v.remember(sum, taken{person, c.ExpiresAt.Time}, reads)
	return person, nil
}

// remembered returns the person of a token that was taken and has not expired, and how often keys were
// read by now.
func (v *Verifier) remembered(sum digest) (person bridge.Person, known bool, reads int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.taken[sum]
	return t.person, ok && time.Now().Before(t.until), v.reads
}

// remember keeps t, which was taken when keys had been read that often, unless other keys were read since.
func (v *Verifier) remember(sum digest, t taken, reads int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if reads != v.reads {
		return
	}
	if len(v.taken) >= maxTaken {
		clear(v.taken)
	}
	v.taken[sum] = t
}

// reason says what is wrong with a token in words that hold nothing of it: the library's own texts
// may quote the header.
func reason(err error) error {
	for _, known := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenMalformed, "the token is not a JWT"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature does not verify"},
		{jwt.ErrTokenUnverifiable, "the token is signed by an unknown key, or in a way that is not known"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks a claim that it must have, such as exp"},
	} {
		if errors.Is(err, known.is) {
			return errors.New(known.text)
		}
	}
	return errors.New("the token is not valid")
}

func refuse(hint string, err error) error {
	return &bridge.Error{Op: "verify user token", Code: bridge.Unauthenticated, Err: err, Hint: hint}
}

// key returns the key with that id.
func (v *Verifier) key(ctx context.Context, id string) (any, error) {
	key, some := v.lookup(id)
	if key == nil && (!some || v.wanted.Allow()) {
		err := v.refresh(ctx)
		if key, some = v.lookup(id); err != nil && !some {
			return nil, err
		}
	}
	if key == nil {
		if err := v.outage(); err != nil {
			return nil, err
		}
		return nil, errors.New("no such key")
	}
	return key, nil
}

// lookup returns the key with that id, nil if there is none, and whether there are keys at all.
func (v *Verifier) lookup(id string) (key any, some bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys[id], v.keys != nil
}

// outage returns why there are no keys at all, if there are none.
func (v *Verifier) outage() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		return nil
	}
	return v.err
}

// Warm fetches the keys ahead of the first token.
func (v *Verifier) Warm(ctx context.Context) error { return v.refresh(ctx) }

// refresh waits for a fetch, with those who wait already, for as long as ctx lets it: a fetch has time of its own, and the caller may
// have less.
func (v *Verifier) refresh(ctx context.Context) error {
	results := v.flight.DoChan("", func() (any, error) { return nil, v.fetch(ctx) })
	select {
	case result := <-results:
		return result.Err
	case <-ctx.Done():
		return unread(fmt.Errorf("%s: no answer within the time for this call", v.config.JWKSURL))
	}
}

// renew fetches keys that have grown old. It waits for that only a little: the old ones are there.
func (v *Verifier) renew(ctx context.Context) {
	v.mu.Lock()
	old := v.keys != nil && !time.Now().Before(v.fresh)
	if old {
		v.fresh = time.Now().Add(pause) // one caller waits
	}
	v.mu.Unlock()
	if old {
		ctx, cancel := context.WithTimeout(ctx, glance)
		defer cancel()
		_ = v.refresh(ctx)
	}
}

// unread is the error of keys that can't be read.
func unread(err error) error {
	return &bridge.Error{Op: "read user pool keys", Code: bridge.Unavailable, Err: err, Hint: "check TOKEN_JWKS_URL, and that the bridge can reach it"}
}

// fetch replaces the keys by those of the JWKS; if that fails, the old ones stay.
func (v *Verifier) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	keys, err := v.read(ctx)
	if err != nil {
		err = unread(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
	if err == nil {
		v.keys, v.taken = keys, map[digest]taken{}
		v.reads++
		v.fresh = time.Now().Add(keep)
	}
	return err
}

func (v *Verifier) read(ctx context.Context) (map[string]any, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.config.JWKSURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := v.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d", v.config.JWKSURL, response.StatusCode)
	}
	var set jwkset.JWKSMarshal
	if err := json.NewDecoder(io.LimitReader(response.Body, maxJWKS)).Decode(&set); err != nil {
		return nil, fmt.Errorf("%s: not a JWKS: %w", v.config.JWKSURL, err)
	}
	keys := map[string]any{}
	for _, marshalled := range set.Keys {
		if marshalled.KTY != jwkset.KtyRSA || marshalled.KID == "" || strings.EqualFold(string(marshalled.USE), "enc") {
			continue
		}
		key, err := jwkset.NewJWKFromMarshal(marshalled, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipX5UScheme: true})
		if err != nil {
			continue // one broken key doesn't cost the others
		}
		keys[marshalled.KID] = key.Key()
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no RSA key in it", v.config.JWKSURL)
	}
	return keys, nil
}
