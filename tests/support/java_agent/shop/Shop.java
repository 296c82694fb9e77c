import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URL;
import java.util.concurrent.Executors;

/** A small shop. `/order/N` asks `/stock/N` of itself. It prints its port, and ends with its standard input. */
public class Shop {
    private int port;

    /** What the plug-in makes an entry span of. */
    public void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        int status = 200;
        if (path.startsWith("/order/")) {
            URL stock = new URL("http://127.0.0.1:" + port + "/stock/" + path.substring("/order/".length()));
            status = call((HttpURLConnection) stock.openConnection());
        }
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }

    /** What the plug-in makes an exit span of. */
    public int call(HttpURLConnection connection) throws IOException {
        return connection.getResponseCode();
    }

    public static void main(String[] arguments) throws Exception {
        Shop shop = new Shop();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        shop.port = server.getAddress().getPort();
        server.createContext("/", shop::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println(shop.port);
        while (System.in.read() >= 0) {
            // Until the test is over.
        }
        System.exit(0);
    }
}
