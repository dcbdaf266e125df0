package centralops

import "time"

// Tokens are what signing in gave. They show themselves neither in fmt nor in logs.
type Tokens struct {
	UserPoolID   string    `json:"user_pool_id"` // the pool and client that issued them:
	ClientID     string    `json:"client_id"`    // tokens of another deployment are not sent
	Username     string    `json:"username"`
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Expires      time.Time `json:"expires"` // of the access token
}

// String hides the tokens.
func (t Tokens) String() string { return "tokens of " + t.Username }

// GoString hides the tokens from %#v.
func (t Tokens) GoString() string { return t.String() }
