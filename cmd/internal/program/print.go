package program

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// run writes the file. A setting without a default is written as a comment.
func (*PrintCmd) run(_ Program, root *kong.Node, _ string, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "# Settings of %s at their defaults. Each can also be given as a flag (--name)\n# or in the environment (the name in brackets).\n", root.Name); err != nil {
		return err
	}
	for _, flag := range settings(root) {
		if err := printSetting(out, flag); err != nil {
			return err
		}
	}
	return nil
}

func printSetting(w io.Writer, flag *kong.Flag) error {
	comment := flag.Help
	if len(flag.Envs) > 0 {
		comment += " [" + flag.Envs[0] + "]"
	}
	line := flag.Name + ": " + yamlValue(flag)
	if !flag.HasDefault {
		line = "# " + strings.TrimSpace(line)
	}
	_, err := fmt.Fprintf(w, "\n%s%s\n", wrap(comment), line)
	return err
}

// yamlValue returns the flag's default as YAML, or its placeholder.
func yamlValue(flag *kong.Flag) string {
	value := flag.Default
	switch {
	case !flag.HasDefault:
		return flag.PlaceHolder
	case flag.IsSlice():
		return "[" + value + "]"
	case value == "" || strings.ContainsAny(value, "#{}[]\"'&*!|>%@`,") || strings.Contains(value, ": "):
		return fmt.Sprintf("%q", value)
	}
	return value
}

// wrap breaks text into comment lines of at most 78 columns.
func wrap(text string) string {
	var out strings.Builder
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 78 {
			out.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return out.String() + line + "\n"
}
