package weir.bench;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Inserts into one table, one after the other on a thread of their own: while one is sent, the next one is filled. Who fills
 * waits when they are full. Failures are tried again some times, then the job fails: a start from its checkpoint repeats the rows.
 */
final class Inserts implements AutoCloseable {
    private static final int ROWS = 10_000;
    private static final long WAIT_MS = 1_000;
    private static final int BUFFERS = 3;
    private static final int ATTEMPTS = 6;

    private final URL url;
    private final ArrayBlockingQueue<Rows> free = new ArrayBlockingQueue<>(BUFFERS);
    private final ExecutorService sender = Executors.newSingleThreadExecutor();
    private Future<?> last;
    private Rows rows = new Rows();
    private long firstRow;
    private long sent;

    Inserts(String server, String database, String table, String columns) throws IOException {
        String query = "INSERT INTO " + table + " (" + columns + ") FORMAT RowBinary";
        url = URI.create(server + "/?decompress=1&database=" + database + "&query="
                + URLEncoder.encode(query, StandardCharsets.UTF_8)).toURL();
        for (int at = 1; at < BUFFERS; at++) {
            free.add(new Rows());
        }
    }

    /** Where the next row goes. */
    Rows rows() {
        return rows;
    }

    /** Call it after each row, or some. */
    void added() throws Exception {
        if (rows.count >= ROWS) {
            send();
        } else if (firstRow == 0) {
            firstRow = System.nanoTime();
        }
    }

    /** Call it from time to time. */
    void tick() throws Exception {
        if (rows.count > 0 && System.nanoTime() - firstRow >= WAIT_MS * 1_000_000) {
            send();
        }
    }

    /** Returns when everything is stored. */
    void drain() throws Exception {
        if (rows.count > 0) {
            send();
        }
        if (last != null) {
            outcome(last);
        }
    }

    /** Rows handed over. After {@link #drain} they are stored. */
    long sent() {
        return sent;
    }

    @Override
    public void close() {
        sender.shutdownNow();
    }

    private void send() throws Exception {
        rows.finish();
        sent += rows.count;
        Rows full = rows;
        Future<?> before = last;
        if (before != null && before.isDone()) {
            outcome(before);
        }
        last = sender.submit(() -> {
            // What failed before would leave a hole.
            if (before != null) {
                before.get();
            }
            post(full);
            full.clear();
            free.add(full);
            return null;
        });
        rows = null;
        while (rows == null) {
            rows = free.poll(1, TimeUnit.SECONDS);
            if (rows == null && last.isDone()) {
                outcome(last);
            }
        }
        firstRow = 0;
    }

    private static void outcome(Future<?> insert) throws Exception {
        try {
            insert.get();
        } catch (ExecutionException error) {
            throw new IOException("an insert failed", error.getCause());
        }
    }

    private void post(Rows full) throws IOException, InterruptedException {
        for (int attempt = 1; ; attempt++) {
            try {
                postOnce(full);
                return;
            } catch (IOException error) {
                if (attempt == ATTEMPTS) {
                    throw error;
                }
                Thread.sleep(250L << attempt);
            }
        }
    }

    private void postOnce(Rows full) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setFixedLengthStreamingMode(full.size);
        connection.setReadTimeout(30_000);
        try (OutputStream out = connection.getOutputStream()) {
            out.write(full.packed, 0, full.size);
        }
        if (connection.getResponseCode() != 200) {
            try (InputStream why = connection.getErrorStream()) {
                throw new IOException("HTTP " + connection.getResponseCode() + ": "
                        + (why == null ? "" : new String(why.readAllBytes(), StandardCharsets.UTF_8)));
            }
        }
        try (InputStream answer = connection.getInputStream()) {
            answer.readAllBytes();
        }
    }
}
