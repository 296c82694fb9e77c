package weir.bench;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Raises an alarm while the 99th percentile of a window of a service with this prefix is above the threshold. */
public record Rule(String name, String servicePrefix, long threshold) implements Serializable {
    /** Reads a file of lines `name, prefix, threshold in nanoseconds`, with tabs between them. */
    public static List<Rule> read(Path file) throws IOException {
        return Files.readAllLines(file).stream().map(line -> line.split("\t", -1))
                .map(parts -> new Rule(parts[0], parts[1], Long.parseLong(parts[2]))).toList();
    }

    boolean matches(String service) {
        return service.startsWith(servicePrefix);
    }
}
