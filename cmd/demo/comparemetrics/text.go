package main

import (
	"fmt"
	"strings"
)

// parseText reads Prometheus' text format. The series of a histogram or summary (_bucket, _sum,
// _count) count as the one that # TYPE names.
// https://prometheus.io/docs/instrumenting/exposition_formats/
func parseText(path, text string, out map[key]*series) error {
	kinds := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if f := strings.Fields(line); len(f) == 4 && f[0] == "#" && f[1] == "TYPE" {
			kinds[f[2]] = f[3]
		}
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, "{ ")
		if end < 0 {
			return fmt.Errorf("%s: %q has no value", path, line)
		}
		name, rest := line[:end], line[end:]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base, ok := strings.CutSuffix(name, suffix)
			if ok && (kinds[base] == "histogram" || kinds[base] == "summary") {
				name = base
				break
			}
		}
		s := out[key{path, name}]
		if s == nil {
			s = &series{kind: kinds[name], labels: make(map[string]map[string]bool)}
			out[key{path, name}] = s
		}
		if rest[0] != '{' {
			continue
		}
		if err := s.addLabels(rest[1:]); err != nil {
			return fmt.Errorf("%s: %q: %w", path, line, err)
		}
	}
	return nil
}

// addLabels notes the labels of one sample: what is between its braces, and what follows.
func (s *series) addLabels(text string) error {
	for text = strings.TrimLeft(text, ", "); text != "" && text[0] != '}'; text = strings.TrimLeft(text, ", ") {
		name, rest, ok := strings.Cut(text, `="`)
		if !ok {
			return fmt.Errorf("the label %q has no value", text)
		}
		end := 0
		for end < len(rest) && rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(rest) {
			return fmt.Errorf("the value of label %s has no end", name)
		}
		if s.labels[name] == nil {
			s.labels[name] = make(map[string]bool)
		}
		s.labels[name][rest[:end]] = true
		text = rest[end+1:]
	}
	if text == "" {
		return fmt.Errorf("the labels have no end")
	}
	return nil
}
