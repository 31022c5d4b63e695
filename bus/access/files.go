package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/edgekit/edgekit/bus"
)

// files are the files as they were read last. Only Open and then Run use them, except what
// tls says itself.
type files struct {
	users, rules, cert, key, ca stamp
	tls                         certificates
}

// stamp shows whether a file has changed.
type stamp struct {
	info fs.FileInfo
	err  string // why there is no info
}

// changed looks at a file and reports whether it is another one than at the last look.
func (s *stamp) changed(name string) bool {
	if name == "" {
		return false
	}
	old := *s
	info, err := os.Stat(name)
	*s = stamp{info: info}
	if err != nil {
		*s = stamp{err: err.Error()}
		return s.err != old.err
	}
	return old.info == nil || !os.SameFile(info, old.info) || info.Size() != old.info.Size() || !info.ModTime().Equal(old.info.ModTime())
}

// read reads a file of at most limit bytes; one byte more shows that it is larger.
func read(name string, limit int64) ([]byte, *FileError) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &FileError{File: name, Reason: remedy(err), Err: err}
	}
	defer f.Close() // it is only read
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &FileError{File: name, Reason: remedy(err), Err: err}
	}
	return text, nil
}

func remedy(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error() + ": name a file that edgecore can read"
}

// load reads the files that have changed. The error joins those of all files.
func (a *Access) load() error {
	return errors.Join(a.loadUsers(), a.loadRules(), a.loadTLS())
}

func (a *Access) loadUsers() error {
	name := a.cfg.Users
	if !a.files.users.changed(name) {
		return nil
	}
	text, bad := read(name, maxUsersFile)
	if bad != nil {
		return bad
	}
	users, weak, bad := parseUsers(text)
	if bad != nil {
		bad.File = name
		return bad
	}
	if weak > 0 {
		a.log.Warn("hashes of MQTT users have few rounds: anyone who reads the file can guess the passwords; make them with edgectl mqtt passwd", "file", name, "users", weak)
	}
	if info := a.files.users.info; info != nil && info.Mode().Perm()&0o007 != 0 {
		a.log.Warn("every user of this machine can use the file of MQTT users: chmod 640", "file", name)
	}
	old := a.state.Load()
	for user, was := range old.users {
		now := users[user]
		switch {
		case now == nil:
			a.removed.Store(user, true)
		case now.hash == was.hash && string(now.salt) == string(was.salt) && now.rounds == was.rounds:
			now.good.Store(was.good.Load())
		}
	}
	for user := range users {
		a.removed.Delete(user)
	}
	a.state.Store(&state{users: users, rules: old.rules})
	a.limits.forget()
	a.log.Info("MQTT users were read", "file", name, "users", len(users))
	return nil
}

func (a *Access) loadRules() error {
	name := a.cfg.Rules
	old := a.state.Load()
	if name == "" {
		if old.rules.anonymous == nil {
			a.state.Store(&state{users: old.users, rules: noRules()})
		}
		return nil
	}
	if !a.files.rules.changed(name) {
		return nil
	}
	text, bad := read(name, maxRulesFile)
	if bad != nil {
		return bad
	}
	rules, bad := parseRules(text)
	if bad != nil {
		bad.File = name
		return bad
	}
	a.state.Store(&state{users: old.users, rules: rules})
	a.log.Info("MQTT rules were read", "file", name, "rules", len(rules.exact)+len(rules.beginning))
	for user := range old.users {
		if rules.find(user).rule == nil {
			a.log.Warn("no rule names an MQTT user, which is refused therefore; there may be more", "user", user, "file", name)
			break
		}
	}
	return nil
}

// Run reads files again that change, and checks tokens again, until ctx ends. A second call
// returns bus.ErrStarted.
func (a *Access) Run(ctx context.Context) error {
	if a.started.Swap(true) {
		return bus.ErrStarted
	}
	tick := time.NewTicker(a.cfg.Poll)
	defer tick.Stop()
	check := time.NewTicker(tokenCheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			if a.checkTokens(ctx) {
				a.changes.Call()
			}
		case <-tick.C:
			before := a.versions()
			if err := a.load(); err != nil {
				a.log.Error("a file of the MQTT broker was not read; what was read before stays", "err", fmt.Sprint(err))
			}
			if a.versions() != before {
				a.changes.Call()
			}
		}
	}
}
