<?php
/**
 * The bottom of every page. License: GPL-2.0-or-later.
 */

defined('ABSPATH') || exit;
?>
</div></main>
<footer class="site-footer">
    <div class="col-full">
        <p>&copy; <?php bloginfo('name'); ?>. Theme: Storefront stand-in.</p>
        <?php wp_footer(); ?>
    </div>
</footer>
</body>
</html>
