package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	centralops "github.com/central-ops/central-ops/services/cli"
)

func (s Store) tokensPath(name string) string { return filepath.Join(s.Dir, "tokens", name+".json") }

// HistoryPath returns the file of the lines typed in chats with the profile called name.
func (s Store) HistoryPath(name string) string { return filepath.Join(s.Dir, "history", name) }

// LoadTokens returns the tokens for p, or an unauthenticated error if nobody is signed in to it.
// It refuses a file that others can read, because then the tokens may be known already; they come with the error, so that
// they can be revoked.
func (s Store) LoadTokens(p Profile) (centralops.Tokens, error) {
	file := s.tokensPath(p.Name)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return centralops.Tokens{}, signedOut("you are not signed in to "+p.Name, err)
	}
	if err != nil {
		return centralops.Tokens{}, unusable("read", file, err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return centralops.Tokens{}, unusable("read", file, err)
	}
	var tokens centralops.Tokens
	if err := json.Unmarshal(raw, &tokens); err != nil {
		return centralops.Tokens{}, signedOut(file+" is damaged", err)
	}
	if tokens.UserPoolID != p.UserPoolID || tokens.ClientID != p.ClientID {
		return centralops.Tokens{}, signedOut("your sign-in is for another user pool than profile "+p.Name+" names", nil)
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && runtime.GOOS != "windows" {
		return tokens, &centralops.Error{Code: centralops.Unauthenticated, Message: fmt.Sprintf("%s can be read by others (mode %#o)", file, info.Mode().Perm()),
			Hint: "centralops logout, so that nobody can use them, then centralops login"}
	}
	return tokens, nil
}

// SaveTokens writes the tokens of the profile called name.
func (s Store) SaveTokens(name string, tokens centralops.Tokens) error {
	if err := CheckName(name); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return fmt.Errorf("encode tokens: %w", err)
	}
	return writeFile(s.tokensPath(name), append(raw, '\n'))
}

// RemoveTokens forgets the tokens of the profile called name. It is no error if there are none.
func (s Store) RemoveTokens(name string) error {
	if err := os.Remove(s.tokensPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unusable("remove", s.tokensPath(name), err)
	}
	return nil
}

func signedOut(why string, cause error) error {
	return &centralops.Error{Code: centralops.Unauthenticated, Message: why, Hint: "centralops login", Err: cause}
}
