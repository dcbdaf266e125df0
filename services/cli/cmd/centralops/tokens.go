package main

import (
	"context"
	"strings"
	"sync"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/cognito"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
)

// renewBefore is how long before its end a token is renewed. An answer takes minutes, and the token
// travels on to the Gateway and the bridge with every tool call of it.
const renewBefore = 5 * time.Minute

// stored gives the tokens of a sign-in, renews them and stores the renewed ones. It implements
// bearer.Tokens.
type stored struct {
	store   profile.Store
	profile profile.Profile
	pool    *cognito.Pool

	mu     sync.Mutex
	tokens *centralops.Tokens // nil until first used
}

// accessToken is the environment variable of a token that is sent instead of a sign-in's.
const accessToken = "CENTRALOPS_ACCESS_TOKEN"

// given is one token from the environment. It implements bearer.Tokens.
type given string

func (g given) Token(context.Context) (string, error)         { return string(g), nil }
func (g given) Renew(context.Context, string) (string, error) { return string(g), nil }

// tokens returns the source of the person's access tokens.
func (a *app) tokens(p profile.Profile, store profile.Store) bearer.Tokens {
	if token := strings.TrimSpace(a.getenv(accessToken)); token != "" { // read from a file, it may end with a newline
		return given(token)
	}
	return &stored{store: store, profile: p, pool: pool(p)}
}

func (s *stored) Token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return "", err
	}
	left := s.tokens.Expires.Sub(s.pool.Now())
	if left < renewBefore {
		// A pool whose tokens live shorter than renewBefore is renewed at every use; and as long as
		// the token is good, a user pool that does not answer is no reason to stop.
		if err := s.renew(ctx); err != nil && left <= 0 {
			return "", err
		}
	}
	return s.tokens.AccessToken, nil
}

func (s *stored) Renew(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return "", err
	}
	if s.tokens.AccessToken == refused {
		if err := s.renew(ctx); err != nil {
			return "", err
		}
	}
	return s.tokens.AccessToken, nil
}

// load reads the tokens once; s.mu is held.
func (s *stored) load() error {
	if s.tokens != nil {
		return nil
	}
	tokens, err := s.store.LoadTokens(s.profile)
	if err == nil {
		s.tokens = &tokens
	}
	return err
}

// renew gets and stores new tokens; s.mu is held.
func (s *stored) renew(ctx context.Context) error {
	tokens, err := s.pool.Refresh(ctx, *s.tokens)
	if err != nil {
		return err
	}
	s.tokens = &tokens
	return s.store.SaveTokens(s.profile.Name, tokens)
}
