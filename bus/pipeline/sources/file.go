package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// fileSource emits the lines of a file. Data is the text.
type fileSource struct{ common }

func openFile(c common) (pipeline.Source, error) {
	file := c.spec.File
	fail := func(text string) (pipeline.Source, error) {
		return nil, fmt.Errorf("bus/pipeline/sources: source %s: %s", c.spec.Name, text)
	}
	switch {
	case c.env.Files == "":
		return fail("file: this program allows no files: it has no folder for them")
	case !filepath.IsLocal(file.Path) || strings.ContainsAny(file.Path, "\x00\n") || path.Clean(file.Path) == ".":
		return fail(fmt.Sprintf("file.path is %.100q: use a relative path of a file, without ..", file.Path))
	case file.From != "" && file.From != "start" && file.From != "end":
		return fail(fmt.Sprintf("file.from is %.40q: use start or end", file.From))
	}
	return &fileSource{c}, nil
}

// stateFile is where a reader remembers its place; empty without a folder.
func stateFile(folder, kind, name string) string {
	if folder == "" {
		return ""
	}
	return filepath.Join(folder, kind+"-"+hash([]byte(name))+".json")
}

func (s *fileSource) Run(ctx context.Context, emit pipeline.Emit) error {
	if err := os.MkdirAll(s.env.Files, 0o750); err != nil {
		return s.ended(ctx, "file", err)
	}
	if s.env.State != "" {
		if err := os.MkdirAll(s.env.State, 0o700); err != nil {
			return s.ended(ctx, "file", err)
		}
	}
	root, err := os.OpenRoot(s.env.Files)
	if err != nil {
		return s.ended(ctx, "file", err)
	}
	defer root.Close()
	name := path.Clean(filepath.ToSlash(s.spec.File.Path))
	f := &follower{
		root: root, path: name, state: stateFile(s.env.State, "file", s.name+"\x00"+name), end: s.spec.File.From == "end",
		clock: s.env.Clock, log: s.env.Logger.With("source", s.name),
	}
	prefix := ""
	if f.state == "" { // nothing is remembered: the same place may be another line after a restart
		prefix = rand.Text()[:16] + "-"
	}
	err = f.run(ctx, func(ctx context.Context, lines []line) error {
		events := make([]pipeline.Event, 0, len(lines))
		now := s.env.Clock.Now()
		for _, l := range lines {
			events = append(events, pipeline.Event{
				ID: prefix + l.id(), Source: s.origin, Type: TypeLine, Subject: name, Time: now, Data: l.text, Resend: s.env.State != "",
			})
		}
		last := lines[len(lines)-1]
		return emit(ctx, events, func() { f.done(last) })
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return s.ended(ctx, "file", err)
}
