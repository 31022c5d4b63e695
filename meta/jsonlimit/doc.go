// Package jsonlimit decodes JSON from senders that may be hostile. A document of 1 MiB
// that reads {"spec":{"containers":[{},{},{} ... becomes a Pod of 700 MiB. Unmarshal first
// walks the tokens together with the Go type and adds up what decoding would allocate. It
// refuses a document that needs more than 16 bytes for each of its own, before it
// allocates, and names the path that went over the limit. Real objects need three to six.
//
//	var pod corev1.Pod
//	if err := jsonlimit.Unmarshal(body, &pod); err != nil {
//		return err
//	}
//
// The walk costs about a third of decoding. The package remembers what it learned of a
// type until the program ends. Several goroutines may call all functions at once.
package jsonlimit
