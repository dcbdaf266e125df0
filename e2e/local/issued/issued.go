// Package issued remembers which credentials the local platform's AWS has handed out.
//
// The STS front and the platform's service roles add to a Store; every stand-in that is called with SigV4 looks
// the access key up in it. A key that is not in the Store was not issued, whatever it looks like.
package issued

import (
	"maps"
	"sync"
	"time"
)

// Credential is one set of keys and everything that AWS would know about its bearer.
type Credential struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // "" for long-term keys

	Account      string // 12 digits: the account that the principal belongs to
	PrincipalARN string // arn:aws:sts::<account>:assumed-role/<role>/<session> for a role's session
	PrincipalID  string // <role unique id>:<session name>
	RoleARN      string // arn:aws:iam::<account>:role/<path><role>; "" when the bearer is not a role
	SessionName  string

	SourceIdentity string            // "" when none was set anywhere in the chain
	Tags           map[string]string // session tags; nil when there are none
	SessionPolicy  string            // inline session policy document; "" when there is none

	Expires time.Time // the zero time means never, as for long-term keys
}

// Expired tells whether the credential has ended at now.
func (c Credential) Expired(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires)
}

// Store holds what was issued, by access key id. All methods may be called concurrently.
type Store struct {
	mu   sync.RWMutex
	byID map[string]Credential
}

// New returns an empty Store.
func New() *Store {
	return &Store{byID: make(map[string]Credential)}
}

// Add records c. A credential with the same access key id is replaced, which is how a test ends one early.
func (s *Store) Add(c Credential) {
	c.Tags = maps.Clone(c.Tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[c.AccessKeyID] = c
}

// Lookup returns the credential with that access key id, expired or not.
func (s *Store) Lookup(accessKeyID string) (Credential, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.byID[accessKeyID]
	c.Tags = maps.Clone(c.Tags)
	return c, ok
}
