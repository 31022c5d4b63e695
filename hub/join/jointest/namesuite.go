package jointest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

// RunNames holds a store to the contract of join.Names: a name has one key, a claim is
// fresh once, and only the key that has a name releases it. open makes an empty store,
// which is closed with t's cleanups.
func RunNames(t *testing.T, open func(t *testing.T) join.Names) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, join.Names)
	}{
		{"Claim", nameClaim}, {"Release", nameRelease}, {"Independent", nameIndependent},
		{"OneKeyWins", nameInRounds(nameOneKeyWins)}, {"FreshOnce", nameInRounds(nameFreshOnce)},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// nameClaim: the first key has the name, may claim it again, and keeps others out.
func nameClaim(t *testing.T, names join.Names) {
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".")
	for _, node := range []string{"edge-1", "edge-1.site.example", longest} {
		checkHolder(t, names, node, "")
		checkClaim(t, names, node, keyHash(1), true, nil)
		checkClaim(t, names, node, keyHash(1), false, nil)
		checkClaim(t, names, node, keyHash(2), false, join.ErrNameInUse)
		checkHolder(t, names, node, keyHash(1))
	}
}

// nameRelease: a release by a key that does not have the name does nothing.
func nameRelease(t *testing.T, names join.Names) {
	checkRelease(t, names, "edge-1", keyHash(1)) // nobody has it
	checkClaim(t, names, "edge-1", keyHash(1), true, nil)
	checkRelease(t, names, "edge-1", keyHash(2))
	checkHolder(t, names, "edge-1", keyHash(1))
	checkRelease(t, names, "edge-1", keyHash(1))
	checkHolder(t, names, "edge-1", "")
	checkRelease(t, names, "edge-1", keyHash(1))
	checkClaim(t, names, "edge-1", keyHash(2), true, nil)
	checkRelease(t, names, "edge-1", keyHash(1)) // had it once
	checkHolder(t, names, "edge-1", keyHash(2))
}

// nameIndependent: each name has its own key.
func nameIndependent(t *testing.T, names join.Names) {
	checkClaim(t, names, "edge-1", keyHash(1), true, nil)
	checkClaim(t, names, "edge-2", keyHash(2), true, nil)
	checkRelease(t, names, "edge-1", keyHash(1))
	checkHolder(t, names, "edge-1", "")
	checkHolder(t, names, "edge-2", keyHash(2))
}

// nameInRounds repeats a test with a new name each time.
func nameInRounds(test func(t *testing.T, names join.Names, node string)) func(*testing.T, join.Names) {
	return func(t *testing.T, names join.Names) {
		for i := range rounds {
			test(t, names, fmt.Sprintf("edge-%d", i))
		}
	}
}

// nameOneKeyWins: of keys that claim a name at the same time, one gets it.
func nameOneKeyWins(t *testing.T, names join.Names, node string) {
	fresh := make([]bool, contenders)
	errs := atOnce(func(i int) (err error) {
		fresh[i], err = names.Claim(t.Context(), node, keyHash(i))
		return err
	})
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			if !fresh[i] {
				t.Errorf("key %d has the name by a claim that is not new", i)
			}
			checkHolder(t, names, node, keyHash(i))
		case !errors.Is(err, join.ErrNameInUse) || fresh[i]:
			t.Errorf("key %d: %t, %v, want ErrNameInUse", i, fresh[i], err)
		}
	}
	if winners != 1 {
		t.Errorf("%d keys got the name, want 1", winners)
	}
}

// nameFreshOnce: of claims by one key at the same time, one is new. Otherwise a join
// that fails would release the name of one that succeeds.
func nameFreshOnce(t *testing.T, names join.Names, node string) {
	fresh := make([]bool, contenders)
	errs := atOnce(func(i int) (err error) {
		fresh[i], err = names.Claim(t.Context(), node, keyHash(1))
		return err
	})
	count := 0
	for i, err := range errs {
		if err != nil {
			t.Errorf("claim by the same key: %v", err)
		}
		if fresh[i] {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d claims are new, want 1", count)
	}
}

// NamesWithFreed is a join.Names that is a join.FreedNames.
type NamesWithFreed interface {
	join.Names
	join.FreedNames
}

// FreedNamesSuite gives RunFreedNames an implementation of join.FreedNames.
type FreedNamesSuite struct {
	// Open makes an empty store; it is closed with t's cleanups.
	Open func(t *testing.T) NamesWithFreed
	// Free frees a name that is claimed, as an operator does, and leaves its Node.
	Free func(ctx context.Context, s NamesWithFreed, node string) error
}

// RunFreedNames holds a store to the contract of join.FreedNames: a name is freed from
// when an operator frees it to when a key claims it.
func RunFreedNames(t *testing.T, s FreedNamesSuite) {
	names := s.Open(t)
	check := func(want bool) {
		t.Helper()
		if got, err := names.Freed(t.Context(), "edge-1"); got != want || err != nil {
			t.Errorf("Freed = %t, %v, want %t", got, err, want)
		}
	}
	check(false)
	checkClaim(t, names, "edge-1", keyHash(1), true, nil)
	check(false)
	if err := s.Free(t.Context(), names, "edge-1"); err != nil {
		t.Fatal(err)
	}
	check(true)
	checkHolder(t, names, "edge-1", "")
	checkClaim(t, names, "edge-1", keyHash(2), true, nil)
	check(false)
	checkHolder(t, names, "edge-1", keyHash(2))
	// A join that fails takes its claim back: the name is as it was before.
	checkRelease(t, names, "edge-1", keyHash(2))
	check(true)
}

func checkClaim(t *testing.T, names join.Names, node, key string, want bool, wantErr error) {
	t.Helper()
	if fresh, err := names.Claim(t.Context(), node, key); fresh != want || !errors.Is(err, wantErr) {
		t.Errorf("Claim(%s, key %s) = %t, %v, want %t, %v", node, key, fresh, err, want, wantErr)
	}
}

func checkRelease(t *testing.T, names join.Names, node, key string) {
	t.Helper()
	if err := names.Release(t.Context(), node, key); err != nil {
		t.Errorf("Release(%s, key %s): %v", node, key, err)
	}
}

func checkHolder(t *testing.T, names join.Names, node, want string) {
	t.Helper()
	if key, err := names.Holder(t.Context(), node); key != want || err != nil {
		t.Errorf("Holder(%s) = %q, %v, want %q", node, key, err, want)
	}
}
