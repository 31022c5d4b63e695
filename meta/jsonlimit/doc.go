// Package jsonlimit decodes JSON of which one must expect the worst. A document
// of 1 MiB that says {"spec":{"containers":[{},{},{} ... makes a Pod of 700 MiB.
// Unmarshal walks the tokens first, together with the type that they are for, and
// adds up what decoding would allocate; a document that would take more than 16
// bytes for each of its own is refused before anything is made, with the path
// that took the memory over the limit. Real objects take three to six.
//
//	var pod corev1.Pod
//	if err := jsonlimit.Unmarshal(body, &pod); err != nil {
//		return err
//	}
//
// The walk costs about a third of what decoding costs. What is known of a type is
// kept for as long as the program runs. All functions may be called by several
// goroutines at once.
package jsonlimit
