package cognito

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Claims are what an access token says. Nothing here checks its signature: the Runtime, the
// Gateway and the bridge do, each for itself.
type Claims struct {
	Subject  string
	Username string
	Groups   []string
	Issuer   string
	ClientID string
	Use      string // token_use: "access" or "id"
	KeyID    string // kid of the header
	Expires  time.Time
}

// ParseClaims reads a JWT without verifying it.
func ParseClaims(token string) (Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, errors.New("it is not a JWT of three parts")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	var payload struct {
		Subject  string   `json:"sub"`
		Username string   `json:"username"`
		Groups   []string `json:"cognito:groups"`
		Issuer   string   `json:"iss"`
		ClientID string   `json:"client_id"`
		Use      string   `json:"token_use"`
		Expires  int64    `json:"exp"`
	}
	for i, into := range []any{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return Claims{}, fmt.Errorf("part %d of the JWT: %w", i+1, err)
		}
	}
	return Claims{
		Subject: payload.Subject, Username: payload.Username, Groups: payload.Groups, Issuer: payload.Issuer,
		ClientID: payload.ClientID, Use: payload.Use, KeyID: header.KeyID, Expires: time.Unix(payload.Expires, 0),
	}, nil
}
