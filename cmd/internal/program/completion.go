package program

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd is the command "completion".
type CompletionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Help is the text below the usage.
func (CompletionCmd) Help() string {
	return `Examples:
  edgectl completion bash > /etc/bash_completion.d/edgectl
  edgectl completion zsh > "${fpath[1]}/_edgectl"
  edgectl completion fish > ~/.config/fish/completions/edgectl.fish`
}

// words is what may follow at one place of a command line.
type words struct {
	path  string   // the commands so far, with spaces between them
	next  []string // commands that may follow
	args  []string // what a positional argument may be, where that is known
	flags []*kong.Flag
}

// grammar lists all places of the grammar.
func grammar(root *kong.Node) []words {
	var out []words
	var walk func(n *kong.Node, path string, above []*kong.Flag)
	walk = func(n *kong.Node, path string, above []*kong.Flag) {
		w := words{path: path, flags: slices.Concat(above, n.Flags)}
		w.flags = slices.DeleteFunc(w.flags, func(f *kong.Flag) bool { return f.Hidden })
		if n.DefaultCmd != nil {
			w.flags = append(w.flags, n.DefaultCmd.Flags...)
		}
		for _, arg := range n.Positional {
			w.args = append(w.args, enum(arg)...)
		}
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				w.next = append(w.next, child.Name)
			}
		}
		out = append(out, w)
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				walk(child, strings.TrimSpace(path+" "+child.Name), slices.Concat(above, n.Flags))
			}
		}
	}
	walk(root, "", nil)
	return out
}

func enum(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return slices.DeleteFunc(v.EnumSlice(), func(s string) bool { return s == "" })
}

// print writes the script.
func (c *CompletionCmd) print(root *kong.Node, out io.Writer) error {
	all := grammar(root)
	var text string
	switch c.Shell {
	case "fish":
		text = fish(root.Name, all)
	case "zsh":
		text = "#compdef " + root.Name + "\nautoload -U +X bashcompinit && bashcompinit\n" + bash(root.Name, all)
	default:
		text = bash(root.Name, all)
	}
	_, err := io.WriteString(out, text)
	return err
}

// bash is a function that finds the commands so far and offers what may follow.
func bash(name string, all []words) string {
	var b strings.Builder
	fn := "_" + strings.ReplaceAll(name, "-", "_")
	fmt.Fprintf(&b, "# Completion of %s for bash: load it with 'source', or put it into /etc/bash_completion.d.\n%s() {\n", name, fn)
	b.WriteString(`	local cur="${COMP_WORDS[COMP_CWORD]}" prev="" path="" skip="" word i
	[ "$COMP_CWORD" -gt 0 ] && prev="${COMP_WORDS[COMP_CWORD-1]}"
	if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="${COMP_WORDS[COMP_CWORD-2]}"; fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		word="${COMP_WORDS[i]}"
		if [ -n "$skip" ]; then skip=""; continue; fi
		case "$word" in
`)
	fmt.Fprintf(&b, "\t\t%s) [ \"${COMP_WORDS[i+1]}\" = \"=\" ] || skip=1; continue ;;\n", strings.Join(withValues(all), "|"))
	b.WriteString("\t\t=) skip=1; continue ;;\n\t\t-*) continue ;;\n\t\tesac\n\t\tcase \"$path $word\" in\n")
	for _, w := range all {
		if w.path != "" {
			fmt.Fprintf(&b, "\t\t\"%s\") path=\" %s\" ;;\n", leading(w.path), w.path)
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$path:$prev\" in\n")
	for _, w := range all {
		for _, f := range w.flags {
			if values := enum(f.Value); len(values) > 0 {
				fmt.Fprintf(&b, "\t\"%s:--%s\") COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", leading(w.path), f.Name, strings.Join(values, " "))
			}
		}
	}
	fmt.Fprintf(&b, "\tesac\n\tcase \"$prev\" in\n\t%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n\tesac\n\tcase \"$path\" in\n", strings.Join(withValues(all), "|"))
	for _, w := range all {
		flags := make([]string, 0, len(w.flags))
		for _, f := range w.flags {
			flags = append(flags, "--"+f.Name)
		}
		slices.Sort(flags)
		fmt.Fprintf(&b, "\t\"%s\") if [[ \"$cur\" == -* ]]; then COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); else COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); fi ;;\n",
			leading(w.path), strings.Join(slices.Compact(flags), " "), strings.Join(slices.Concat(w.next, w.args), " "))
	}
	fmt.Fprintf(&b, "\tesac\n}\ncomplete -o default -F %s %s\n", fn, name)
	return b.String()
}

// leading is a path as the script has it: a space before each command.
func leading(path string) string {
	if path == "" {
		return ""
	}
	return " " + path
}

// withValues lists the flags that take a value.
func withValues(all []words) []string {
	out := []string{"--config"}
	for _, w := range all {
		for _, f := range w.flags {
			if !f.IsBool() && !f.IsCounter() {
				out = append(out, "--"+f.Name)
				if f.Short != 0 {
					out = append(out, "-"+string(f.Short))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fish is a line for each word.
func fish(name string, all []words) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %s for fish.\ncomplete -c %s -f\n", name, name)
	for _, w := range all {
		when := "__fish_use_subcommand"
		if w.path != "" {
			when = "__fish_seen_subcommand_from " + w.path[strings.LastIndex(w.path, " ")+1:]
		}
		for _, word := range slices.Concat(w.next, w.args) {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -a %s\n", name, when, word)
		}
		for _, f := range w.flags {
			line := fmt.Sprintf("complete -c %s -n '%s' -l %s", name, when, f.Name)
			if f.Short != 0 {
				line += " -s " + string(f.Short)
			}
			if !f.IsBool() && !f.IsCounter() {
				line += " -r"
				if values := enum(f.Value); len(values) > 0 {
					line += " -a '" + strings.Join(values, " ") + "'"
				}
			}
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}
