package assume

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/central-ops/central-ops/services/bridge"
)

// fakeSTS answers after a second, with credentials for an hour.
type fakeSTS struct {
	calls  atomic.Int64
	denied bool
}

func (f *fakeSTS) AssumeRole(context.Context, *sts.AssumeRoleInput, ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	f.calls.Add(1)
	time.Sleep(time.Second)
	if f.denied {
		return nil, &smithy.GenericAPIError{Code: "AccessDenied", Message: "not authorized"}
	}
	return &sts.AssumeRoleOutput{Credentials: &types.Credentials{AccessKeyId: aws.String("A"), SecretAccessKey: aws.String("s"),
		SessionToken: aws.String("t"), Expiration: aws.Time(time.Now().Add(time.Hour))}}, nil
}

var (
	alice = bridge.Person{Subject: "sub-a", Username: "alice"}
	bob   = bridge.Person{Subject: "sub-b", Username: "bob"}
)

func TestOneAssumeRoleServesUntilFiveMinutesBeforeTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeSTS{}
		roles := New(fake, Config{Partition: "aws", RoleName: "R", SessionName: "central-ops-dev"})
		assume := func(person bridge.Person, policy string, want int64) {
			t.Helper()
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if _, err := roles.Assume(t.Context(), person, "111111111111", policy); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if got := fake.calls.Load(); got != want {
				t.Errorf("%d AssumeRole so far, want %d", got, want)
			}
		}
		assume(alice, "p", 1)
		assume(bob, "p", 2)   // another person never shares credentials
		assume(alice, "q", 3) // nor another session policy
		time.Sleep(54 * time.Minute)
		assume(alice, "p", 3)
		time.Sleep(time.Minute)
		assume(alice, "p", 4)
		session, err := roles.Assume(t.Context(), alice, "111111111111", "p")
		if err != nil {
			t.Fatal(err)
		}
		roles.Forget(session)
		assume(alice, "p", 5)
	})
}

// hangingSTS gives its first caller no answer.
type hangingSTS struct{ fakeSTS }

func (f *hangingSTS) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	if f.calls.Load() == 0 {
		f.calls.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f.fakeSTS.AssumeRole(ctx, in, options...)
}

func TestNextQuestionDoesNotWaitForAHangingRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		roles := New(&hangingSTS{}, Config{Partition: "aws", RoleName: "R", SessionName: "s"})
		for _, want := range []bridge.Code{bridge.Timeout, ""} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := roles.Assume(ctx, alice, "111111111111", "p")
			cancel()
			if err == nil && want != "" || err != nil && bridge.CodeOf(err) != want {
				t.Errorf("got %v, want code %q", err, want)
			}
		}
		time.Sleep(patience) // the request that hangs ends, too
	})
}

func TestRefusalIsRememberedBriefly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeSTS{denied: true}
		roles := New(fake, Config{Partition: "aws", RoleName: "R", SessionName: "s"})
		for range 3 {
			session, err := roles.Assume(t.Context(), alice, "111111111111", "p")
			if bridge.CodeOf(err) != bridge.Forbidden || session.RoleARN != "arn:aws:iam::111111111111:role/R" || session.SourceIdentity != "alice" {
				t.Errorf("%+v, %v", session, err)
			}
		}
		if got := fake.calls.Load(); got != 1 {
			t.Errorf("%d AssumeRole, want 1", got)
		}
		time.Sleep(remember)
		if _, err := roles.Assume(t.Context(), alice, "111111111111", "p"); err == nil || fake.calls.Load() != 2 {
			t.Errorf("after a while it is not asked again: %d calls, %v", fake.calls.Load(), err)
		}
	})
}

func FuzzSourceIdentity(f *testing.F) {
	for _, name := range []string{"alice", "a", "", "bob@example.com", "Zoë Müller", strings.Repeat("x", 65), "a:b/c", "\x00"} {
		f.Add(name)
	}
	allowed, digested := regexp.MustCompile(`^[\w+=,.@-]{2,64}$`), regexp.MustCompile(`-[0-9a-f]{16}$`)
	f.Fuzz(func(t *testing.T, name string) {
		fitted := SourceIdentity(name)
		if !allowed.MatchString(fitted) || (allowed.MatchString(name) && !digested.MatchString(name)) != (fitted == name) {
			t.Errorf("%q became %q", name, fitted)
		}
		if fitted != name && SourceIdentity(fitted) == fitted {
			t.Errorf("%q is what %q becomes", fitted, name) // whoever is called so would be taken for somebody else
		}
	})
}
